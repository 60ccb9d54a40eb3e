package gateway

import (
	"context"
	"errors"
	"net/http"

	"entitled/entitlement"
	"entitled/internal/checkout"
	"entitled/internal/gateway/decision"
)

// index returns the index of a request, if there are ids and a key that writes to Stripe.
func (g *Gateway) index(q *request) (checkout.Index, *problem) {
	doc, p := g.document()
	switch {
	case p != nil:
		return nil, p
	case g.cfg.Checkout == nil:
		return nil, &problem{status: http.StatusConflict, code: "no_checkout",
			message: "STRIPE_WRITE_KEY is not set, so the gateway writes nothing to Stripe"}
	case !doc.HasIDs:
		return nil, &problem{status: http.StatusConflict, code: "no_ids", message: "the plans document has no ids"}
	}
	find := func(id string) []entitlement.Entry { return q.source.Find("id:" + id).Entries }
	return checkout.Bucket{Name: doc.IDName, Find: find, Read: q.source.Sync}, nil
}

// A sessionMaker is a method of a Checkout.
type sessionMaker func(c *checkout.Checkout, ctx context.Context, ix checkout.Index, id string, body []byte) (
	checkout.Answer, error)

func (g *Gateway) postSession(begin sessionMaker) func(*request) *problem {
	return func(q *request) *problem {
		if p := q.server(true); p != nil {
			return p
		}
		who, p := q.customer()
		if p != nil {
			return p
		}
		if !who.IsID {
			return badRequest("this route takes your own ids only, not Stripe's")
		}
		body, p := q.read()
		if p != nil {
			return p
		}
		ix, p := g.index(q)
		if p != nil {
			return p
		}
		a, err := begin(g.cfg.Checkout, q.Context(), ix, who.Name, body)
		if err != nil {
			return checkoutProblem(err)
		}
		writeJSON(q.w, http.StatusOK, decision.JSON(a))
		return nil
	}
}

// unknownID finds the customers of an id that the bucket does not have yet, by Stripe's search, and has
// them read.
func (g *Gateway) unknownID(q *request, id string) ([]entitlement.Snapshot, *problem) {
	ix, p := g.index(q)
	switch {
	case p != nil && p.status == http.StatusServiceUnavailable:
		return nil, p // not known yet
	case p != nil:
		return nil, noCustomer
	}
	read, err := g.cfg.Checkout.Fresh(q.Context(), ix, id)
	if err != nil {
		return nil, checkoutProblem(err)
	}
	return read, nil
}

func checkoutProblem(err error) *problem {
	if e, ok := errors.AsType[*checkout.Error](err); ok {
		return &problem{status: e.Status, code: e.Code, message: e.Message, retryAfter: e.RetryAfter}
	}
	return syncProblem(err)
}
