package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"entitled/entitlement"
	"entitled/internal/topology"
)

type syncCmd struct {
	Customer string `arg:"" help:"The customer: ${customer}."`
	Account  string `placeholder:"ACCT" help:"The connected account it belongs to, acct_…"`
	JSON     bool   `name:"json" help:"Print the snapshot as JSON."`
	modeFlag
	natsFlags
}

// Help is shown below the usage.
func (syncCmd) Help() string {
	return `Asks a running syncer to read the customer from Stripe now, and shows what it wrote. An app does the same right after a checkout,
with Client.Sync or a NATS request to entitled.sync.<mode>. A parked customer is tried again.

	entitled sync cus_NffrFeUfNV2Hib`
}

// syncWithin is a little more than the syncer takes before it gives up.
const syncWithin = 12 * time.Second

// Run asks for a fresh snapshot and shows it.
func (c syncCmd) Run(ctx context.Context, s *session) error {
	mode, err := c.mode(s)
	if err != nil {
		return err
	}
	customer, err := s.customer("", c.Customer, c.Account, mode)
	if err != nil {
		return err
	}
	nc, err := c.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	mode = found(ctx, nc, mode)
	customer.Mode = mode
	began := s.now()
	question, err := json.Marshal(map[string]string{"customer": customer.ID, "account": customer.Account})
	if err != nil {
		return fmt.Errorf("ask for %s: %w", customer, err)
	}
	ctx, cancel := context.WithTimeout(ctx, syncWithin)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, entitlement.SyncSubject(mode), question)
	if err != nil {
		return fmt.Errorf("sync %s: %w", customer, explainNoAnswer(err, mode))
	}
	if code := msg.Header.Get(micro.ErrorCodeHeader); code != "" {
		return withHint(fmt.Errorf("sync %s: %s (%s)", customer, printable(msg.Header.Get(micro.ErrorHeader)), code), nextStep(code, msg.Data))
	}
	var answer struct {
		Snapshot json.RawMessage `json:"snapshot"`
		Revision uint64          `json:"revision"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return fmt.Errorf("sync %s: answer: %w", customer, err)
	}
	if c.JSON {
		_, err := fmt.Fprintf(s.out, "%s\n", answer.Snapshot)
		return err
	}
	e := entry{customer: customer, data: answer.Snapshot, revision: answer.Revision}
	snapshot, err := e.snapshot()
	if err != nil {
		return err
	}
	now := s.now()
	show(s.out, &snapshot, e.revision, now)
	fmt.Fprintln(s.out, s.out.paint(faint, fmt.Sprintf("  read from Stripe and written in %s", short(now.Sub(began)))))
	return nil
}

func explainNoAnswer(err error, mode entitlement.Mode) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return withHint(fmt.Errorf("no syncer of mode %s is running (%w)", mode, err),
			"start one with a key of that mode, or `entitled dev`; or choose with --mode")
	case errors.Is(err, context.DeadlineExceeded):
		return withHint(err, "the syncer did not answer, or this NATS user may not ask it: look at its /readyz")
	}
	return err
}

// nextStep is what can be done about an answer of the sync service, by its code and the data beside it.
func nextStep(code string, data []byte) string {
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
		return "check the id, the mode and the account; nothing was written. A syncer remembers this for a minute"
	case "429":
		return "the syncers are busy: try again in a second"
	case "502":
		return aboutStripe(data)
	case "504":
		return "try again; STRIPE_RATE says how many requests/s may go to Stripe"
	}
	return "the syncer's log says more"
}

func aboutStripe(data []byte) string {
	var detail struct {
		Status *int `json:"stripe_status"`
	}
	if json.Unmarshal(data, &detail) != nil || detail.Status == nil {
		// A syncer of an earlier version, which does not tell them apart.
		return "if Stripe refused, " + stripeRefused + "; if it had trouble, " + stripeTrouble
	}
	return adviceOn(*detail.Status)
}

const (
	stripeRefused = "check the key's permissions and mode, and the account"
	stripeTrouble = "try again in a minute; https://status.stripe.com says how Stripe is"
)

// adviceOn is what can be done about an answer of Stripe, by its status; 0 for none.
func adviceOn(status int) string {
	switch {
	case status == http.StatusTooManyRequests:
		return "Stripe has had too many requests: try again in a minute; a lower STRIPE_RATE leaves room for what else reads the account"
	case status == 0:
		return "Stripe did not answer: is STRIPE_API_BASE right, and within reach? then " + stripeTrouble
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusConflict:
		return "Stripe refused: " + stripeRefused
	}
	return "Stripe has trouble: " + stripeTrouble
}
