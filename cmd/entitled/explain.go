package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/audit"
	"entitled/internal/daemon"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/topology"
	"entitled/internal/wiring"
	"entitled/internal/wiring/syncerd"
)

type explainCmd struct {
	Customer string `arg:"" help:"The customer: ${customer}."`
	Account  string `placeholder:"ACCT" help:"The connected account it belongs to, acct_…"`
	At       string `narrows:"" placeholder:"TIME" help:"Show what an app was told at this time, and what was under way: ${times}."`
	Since    string `narrows:"" placeholder:"TIME" help:"Leave out what came before this time, as for --at."`
	JSON     bool   `name:"json" help:"Print the story as JSON."`
	Coverage string `name:"coverage-every" env:"COVERAGE_EVERY" default:"5m" help:"As the syncer has it, to say when an event without a sync is marked again."`
	checkFlags
	wiring.MarkSettings
	modeFlag
	natsFlags
}

// checkFlags are how Stripe is read for --check. They must be the syncer's.
type checkFlags struct {
	Compare  bool   `name:"check" help:"Read the customer from Stripe too, with STRIPE_API_KEY, and show what differs. Nothing is written."`
	Base     string `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is, for --check."`
	Rate     string `name:"stripe-rate" env:"STRIPE_RATE" placeholder:"N" help:"As the syncer has it, for --check."`
	Features string `name:"features" env:"FEATURES" default:"off" help:"As the syncer has it, for --check."`
	Grace    string `name:"past-due-grace" env:"PAST_DUE_GRACE" default:"72h" help:"As the syncer has it, for --check."`
}

// Help is shown below the usage.
func (explainCmd) Help() string {
	return `One customer's story. First the answer: access or not, since when, and the sync that changed it. Then, in order, each event that came, the
sync that covered it, how long that waited and for what, what it asked of Stripe, and what changed. Then how the customer stands. Start here when
somebody asks why a customer was locked out at 14:02.

	entitled explain cus_NffrFeUfNV2Hib
	entitled explain cus_NffrFeUfNV2Hib --since 1d
	entitled explain cus_NffrFeUfNV2Hib --at 14:02
	STRIPE_API_KEY=rk_live_… entitled explain cus_NffrFeUfNV2Hib --check
	entitled explain cus_NffrFeUfNV2Hib --json | jq -r .headline.text
	entitled explain cus_NffrFeUfNV2Hib --json | jq .uncovered

Exits with 1 if an event has no sync and none is coming, if the snapshot is gone from the bucket or cannot be read, or if --check finds a
difference. An event that waits, for a marker that is pending or on its way, is none of these.`
}

// Run tells the story.
func (e explainCmd) Run(ctx context.Context, s *session) error {
	mode, err := e.mode(s)
	if err != nil {
		return err
	}
	c, err := s.customer("", e.Customer, e.Account, mode)
	if err != nil {
		return err
	}
	now := s.now()
	at, err := pastArg("--at", e.At, now)
	since, serr := pastArg("--since", e.Since, now)
	if err := usageErrors(err, serr, e.excluded()); err != nil {
		return err
	}
	check := daemon.Checker{Program: s.Name}
	marks := e.MarkSettings.Check(&check)
	coverage := check.Duration("COVERAGE_EVERY", e.Coverage, daemon.Between(time.Second, 24*time.Hour))
	stripe := e.settings(s, &check)
	if err := check.Err(); err != nil {
		return err
	}
	if e.Compare && stripe.Mode != mode {
		return usageError{hinted{fmt.Errorf("STRIPE_API_KEY is of mode %s, asked is %s", stripe.Mode, mode), "--mode and the key must agree for --check"}}
	}
	nc, err := e.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	mode = found(ctx, nc, mode)
	c.Mode = mode
	log, err := openLog(ctx, nc)
	if err != nil {
		return err
	}
	story, err := log.Story(ctx, c, marks, now)
	if err != nil {
		return explainLog(err)
	}
	if e.Compare {
		if err := compare(ctx, nc, story, stripe); err != nil {
			return err
		}
	}
	if story.Empty() && (story.Now.Fresh == nil || unknownToBoth(story.Now)) {
		return nobody(c, story.Now.Fresh)
	}
	if e.At != "" {
		return e.printAt(s, c, story.Told(at), story.StandingAt(at))
	}
	if story.Waits() {
		story.Now.Running = log.Running(ctx, mode)
	}
	return e.print(s, story, since, coverage)
}

// excluded says which flags make no sense together.
func (e explainCmd) excluded() error {
	var errs []error
	if e.At != "" && e.Compare {
		errs = append(errs, withHint(errors.New("--at and --check exclude each other"), "Stripe can be asked how a customer stands now only: leave out one"))
	}
	if e.At != "" && e.Since != "" {
		errs = append(errs, withHint(errors.New("--at and --since exclude each other"), "--at shows one instant, --since the story from then on: choose one"))
	}
	return usageErrors(errs...)
}

// settings are those of --check; without it, none are looked at.
func (f checkFlags) settings(s *session, check *daemon.Checker) syncerd.Syncer {
	if !f.Compare {
		return syncerd.Syncer{}
	}
	key := check.Secret("STRIPE_API_KEY", s.Getenv("STRIPE_API_KEY"), syncerd.KeyHint)
	return syncerd.Settings{
		Base: f.Base, Rate: f.Rate, Features: f.Features, Grace: f.Grace, CoverageEvery: "5m", // not used here
	}.Check(check, key)
}

// checkWithin bounds the reading of Stripe.
const checkWithin = 30 * time.Second

// compare reads Stripe, within the fleet's budget, and puts it beside the bucket.
func compare(ctx context.Context, nc *nats.Conn, story *audit.Story, y syncerd.Syncer) error {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	kv, err := js.KeyValue(ctx, topology.StateBucket)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", topology.StateBucket, err)
	}
	if err := syncer.Agree(ctx, kv, y.Mode, y.Stripe.Features, y.Policy); errors.Is(err, syncer.ErrPolicy) {
		return withHint(fmt.Errorf("--check would differ by that alone: %w", err), policyHint)
	} else if err != nil {
		return err
	}
	client, err := stripeapi.New(y.Stripe)
	if err != nil {
		return err
	}
	defer client.Close()
	budget := stripeapi.NewBudget(stripeapi.BudgetConfig{KV: kv, Mode: y.Mode, Rate: y.Rate})
	place := func(ctx context.Context) error { return budget.Take(ctx, stripeapi.Requests) }
	if err := place(ctx); err != nil {
		return fmt.Errorf("--check: wait for a place in the Stripe budget: %w", err)
	}
	asOf := time.Now()
	read, trace, err := client.Fetch(ctx, story.Customer.Account, story.Customer.ID, place)
	if err != nil {
		return withHint(fmt.Errorf("--check: %w", err), "without --check, the story is told from what is stored")
	}
	story.Now.Compare(read, trace, y.Policy, asOf)
	return nil
}

// storyLine is a story for programs.
type storyLine struct {
	storyHead
	Headline headline `json:"headline"`
	*audit.Story
	// Uncovered are the sequences of the events that nothing covers, Waiting those of the events that a sync is still to cover.
	Uncovered []uint64 `json:"uncovered"`
	Waiting   []uint64 `json:"waiting"`
}

func (e explainCmd) print(s *session, story *audit.Story, since time.Time, coverageEvery time.Duration) error {
	lost := story.Uncovered()
	if e.JSON {
		c := story.Customer
		line := storyLine{
			storyHead: storyHead{c.ID, c.Account, string(c.Mode)}, Headline: newHeadline(story.Standing(), caveat(story)),
			Uncovered: sequences(lost), Waiting: sequences(story.Waiting()),
		}
		shown := *story
		shown.Steps = after(story.Steps, since)
		line.Story = &shown
		if err := s.encode(line); err != nil {
			return err
		}
	} else {
		storyView{view: view{s.out}, story: story, since: since, coverageEvery: coverageEvery}.show()
	}
	if len(lost) > 0 || story.Gone() != nil || story.Now.Unreadable != "" || differs(story.Now) {
		return errSilent
	}
	return nil
}

func sequences(events []*audit.Heard) []uint64 {
	list := make([]uint64, 0, len(events))
	for _, e := range events {
		list = append(list, e.Seq)
	}
	return list
}

func (e explainCmd) printAt(s *session, c stripeevent.Customer, told audit.Told, standing audit.Standing) error {
	if e.JSON {
		return s.encode(struct {
			storyHead
			Headline headline   `json:"headline"`
			Told     audit.Told `json:"told"`
		}{storyHead{c.ID, c.Account, string(c.Mode)}, newHeadline(standing, ""), told})
	}
	showTold(s.out, c, told, standing)
	return nil
}

type storyHead struct {
	Customer string `json:"customer"`
	Account  string `json:"account,omitempty"`
	Mode     string `json:"mode"`
}

func (s *session) encode(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintf(s.out, "%s\n", b)
	return err
}

// after are the steps from an instant on.
func after(steps []audit.Step, since time.Time) []audit.Step {
	for i, step := range steps {
		if !step.At().Before(since) {
			return steps[i:]
		}
	}
	return []audit.Step{}
}
