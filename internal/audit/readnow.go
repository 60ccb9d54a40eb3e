package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// ReadNowWithin is a little more than a syncer takes before it gives up a request.
const ReadNowWithin = 12 * time.Second

// A Refusal is a syncer's answer that it did not read a customer.
type Refusal struct {
	// Code is a status as of HTTP, and Data has details for programs.
	Code, Reason string
	Data         []byte
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s (%s)", r.Reason, r.Code) }

// A Reading is a snapshot that was read on request.
type Reading struct {
	// Snapshot is the JSON of the entry.
	Snapshot json.RawMessage `json:"snapshot"`
	Revision uint64          `json:"revision"`
}

// ReadNow asks a running syncer to read a customer from Stripe now. Errors: a [*Refusal] of the syncer,
// [nats.ErrNoResponders] if none of the mode runs.
func ReadNow(ctx context.Context, nc *nats.Conn, c stripeevent.Customer) (Reading, error) {
	question, err := json.Marshal(map[string]string{"customer": c.ID, "account": c.Account})
	if err != nil {
		return Reading{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, ReadNowWithin)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, entitlement.SyncSubject(c.Mode), question)
	if err != nil {
		return Reading{}, err
	}
	if code := msg.Header.Get(micro.ErrorCodeHeader); code != "" {
		return Reading{}, &Refusal{code, msg.Header.Get(micro.ErrorHeader), msg.Data}
	}
	var r Reading
	if err := json.Unmarshal(msg.Data, &r); err != nil {
		return Reading{}, fmt.Errorf("answer: %w", err)
	}
	if r.Snapshot == nil {
		return Reading{}, errors.New("answer: no snapshot")
	}
	return r, nil
}
