package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
)

const (
	// syncWithin bounds a reading of Stripe; a syncer answers within 10 s.
	syncWithin = 12 * time.Second
	// syncsAtOnce bounds the readings for one id with several customers.
	syncsAtOnce = 4
)

func (g *Gateway) postSync(q *request) *problem {
	if p := q.server(true); p != nil {
		return p
	}
	who, p := q.customer()
	if p != nil {
		return p
	}
	var read []entitlement.Snapshot
	keys := []string{who.Name}
	if who.IsID {
		keys = nil
		for _, e := range q.source.Find(who.String()).Entries {
			keys = append(keys, e.Key)
		}
		if keys == nil {
			if read, p = g.unknownID(q, who.Name); p != nil {
				return p
			}
		}
	} else if _, _, err := entitlement.ParseKey(who.Name); err != nil {
		return badRequest("the customer is not a key: cus_…, or acct_….cus_… for one of a connected account")
	}
	more, p := syncAll(q.Context(), q.source, keys)
	if p != nil {
		return p
	}
	read = append(read, more...)
	// The readings may have changed which customers have the id, and the view may not show it yet.
	now := time.Now()
	found := q.source.Find(who.String()).With(read, who)
	body, tag := decision.Of(who, found, staleSince(q.source.Status(), now), now).Encode()
	q.w.Header().Set("ETag", tag)
	writeJSON(q.w, http.StatusOK, body)
	return nil
}

func syncAll(ctx context.Context, s Source, keys []string) ([]entitlement.Snapshot, *problem) {
	ctx, cancel := context.WithTimeout(ctx, syncWithin)
	defer cancel()
	read := make([]entitlement.Snapshot, len(keys))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(syncsAtOnce)
	for i, key := range keys {
		g.Go(func() (err error) {
			read[i], err = s.Sync(ctx, key)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, syncProblem(err)
	}
	return read, nil
}

func syncProblem(err error) *problem {
	if refused, ok := errors.AsType[*entitlement.SyncError](err); ok {
		switch refused.Code {
		case http.StatusBadRequest:
			return badRequest("a syncer refuses the customer as not valid")
		case http.StatusNotFound:
			return noCustomer
		case http.StatusTooManyRequests:
			return &problem{status: refused.Code, code: "busy", message: "too many requests for syncs are in progress",
				retryAfter: 1}
		case http.StatusServiceUnavailable:
			return &problem{status: refused.Code, code: "not_stored", message: "the syncer could not write the snapshot",
				retryAfter: 2}
		case http.StatusGatewayTimeout:
			return timedOut
		}
		return &problem{status: http.StatusBadGateway, code: "stripe", message: "Stripe refused or failed"}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return timedOut
	case errors.Is(err, nats.ErrNoResponders):
		return &problem{status: http.StatusServiceUnavailable, code: "no_syncer", message: "no syncer answers",
			retryAfter: 5}
	}
	return &problem{status: http.StatusServiceUnavailable, code: "unavailable", message: "no syncer can be reached",
		retryAfter: 2}
}

var timedOut = &problem{status: http.StatusGatewayTimeout, code: "timeout",
	message: "no reading of Stripe in time; it may still happen", retryAfter: 2}
