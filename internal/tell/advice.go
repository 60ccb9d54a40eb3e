package tell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/term"
	"entitled/internal/topology"
)

// ReadNowFailure adds the next step to an error of [audit.ReadNow].
func ReadNowFailure(err error, m entitlement.Mode) error {
	var refused *audit.Refusal
	switch {
	case errors.As(err, &refused):
		return WithHint(errors.New(term.Printable(err.Error())), SyncHint(refused.Code, refused.Data))
	case errors.Is(err, nats.ErrNoResponders):
		return WithHint(fmt.Errorf("no syncer of mode %s is running (%w)", m, err),
			"start one with a key of that mode, or `entitled dev`; or choose another mode with --mode")
	case errors.Is(err, context.DeadlineExceeded):
		return WithHint(err, "the syncer did not answer, or this NATS user may not ask it: check its /readyz")
	}
	return err
}

// SyncHint returns the next step for an error of the sync service, from its code and data.
func SyncHint(code string, data []byte) string {
	var detail struct {
		NATS string `json:"nats"`
	}
	switch _ = json.Unmarshal(data, &detail); detail.NATS {
	case "full":
		return topology.NoRoomHint
	case "silent":
		return "NATS does not store what the syncer writes: `entitled doctor` looks at the servers and their disks"
	}
	switch code {
	case "400":
		return "check the customer's id"
	case "404":
		return "check the id, the mode and the account; nothing was written. The syncer keeps this answer for a minute"
	case "429":
		return "the syncers are busy: try again in a second"
	case "502":
		return aboutStripe(data)
	case "504":
		return "try again; a higher STRIPE_RATE allows more requests/s to Stripe"
	}
	return "see the syncer's log"
}

func aboutStripe(data []byte) string {
	var detail struct {
		Status *int `json:"stripe_status"`
	}
	if json.Unmarshal(data, &detail) != nil || detail.Status == nil {
		// A syncer of an earlier version, which does not tell them apart.
		return "if Stripe refused, " + stripeRefused + "; if it had trouble, " + stripeTrouble
	}
	return StripeHint(*detail.Status)
}

// StripeHint returns the next step for an answer of Stripe, by its status; 0 means no answer.
func StripeHint(status int) string {
	switch {
	case status == http.StatusTooManyRequests:
		return "Stripe has had too many requests: try again in a minute; a lower STRIPE_RATE leaves room for " +
			"the other programs of the account"
	case status == 0:
		return "Stripe did not answer: check STRIPE_API_BASE and the network; then " + stripeTrouble
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusConflict:
		return "Stripe refused: " + stripeRefused
	}
	return "Stripe has trouble: " + stripeTrouble
}

const (
	stripeRefused = "check the key's permissions and mode, and the account"
	stripeTrouble = "try again in a minute; https://status.stripe.com shows outages"
)
