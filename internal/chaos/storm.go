package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// behind bounds the undelivered events, so that a run ends soon after its storm.
const behind = 400

// listedWithin bounds the delay of an event in Stripe's list after its webhook.
const listedWithin = 500 * time.Millisecond

// storm runs customers and faults for about d. Its time is the sum of the drawn pauses: the seed
// determines what happens in which order, and a slow machine only takes longer.
func (s *stage) storm(ctx context.Context, d time.Duration) {
	var drawn, weather time.Duration
	// No fault that takes long to recover from begins at the very end.
	strike, last := 100*time.Millisecond, d*3/4
	if s.cluster != nil {
		s.cfg.Log.Debug(s.breakServers(ctx))
	}
	document := s.untilDocument()
	for drawn < d && ctx.Err() == nil {
		if drawn >= weather {
			s.sim.SetFaults(s.weather())
			weather = drawn + s.span(150, 500)
		}
		if drawn >= strike && drawn < last {
			s.strike(ctx, time.Now())
			strike = drawn + s.span(20, 160)
		}
		if drawn >= document {
			what := "apply a document"
			s.hurried(ctx, &what, s.apply)
			s.cfg.Log.Debug(what)
			document = drawn + s.untilDocument()
		}
		s.life.step()
		s.report.Steps++
		pause := s.span(2, 20)
		drawn += pause
		s.breathe(ctx, pause)
	}
}

// breathe pauses, longer while deliveries are far behind, and starts daemons that are down and due.
func (s *stage) breathe(ctx context.Context, pause time.Duration) {
	for wait := pause; ; wait = 5 * time.Millisecond {
		if err := s.mend(time.Now()); err != nil {
			s.cfg.Log.Warn("a daemon does not start", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if s.sim.Waiting() < behind {
			return
		}
	}
}

// span draws a duration in milliseconds.
func (s *stage) span(from, to int) time.Duration {
	return time.Duration(from+s.fate.IntN(to-from)) * time.Millisecond
}

// weather draws the faults of Stripe.
func (s *stage) weather() stripesim.Faults {
	rng := s.fate
	share := func(most float64) float64 {
		if rng.IntN(3) != 0 {
			return 0
		}
		return most * rng.Float64()
	}
	ms := func(n int) stripesim.Range {
		return stripesim.Range{Max: time.Duration(1+rng.IntN(n)) * time.Millisecond}
	}
	f := stripesim.Faults{
		SlowReads: share(0.4), SlowRead: ms(600),
		RateLimited: share(0.1), LockTimeout: share(0.1), Error500: share(0.15), Error503: share(0.1),
		Error409: share(0.1),
		HTML200:  share(0.1), HTML502: share(0.1), Reset: share(0.15), Truncate: share(0.15),
		WebhookDuplicate: share(0.3), WebhookDrop: share(0.2), NeverGenerated: share(0.2), CustomerObject: share(0.5),
		EventsLag: stripesim.Range{Max: listedWithin},
	}
	if rng.IntN(2) == 0 {
		f.Latency = ms(150)
	}
	if rng.IntN(2) == 0 {
		f.WebhookDelay = ms(400)
	}
	if rng.IntN(6) == 0 {
		f.Limits = stripesim.Limits{Endpoint: 60, Test: 80, Concurrency: 12}
	}
	if rng.IntN(8) == 0 {
		who := s.life.people[rng.IntN(len(s.life.people))].customer
		f.Poison = map[string]int{who.ID: 400}
		s.poisoned[who.Key()] = true
	}
	return f
}

// strike causes one fault on our side.
func (s *stage) strike(ctx context.Context, now time.Time) {
	rng := s.fate
	all := s.fleet.all()
	d := all[rng.IntN(len(all))]
	back := now.Add(s.span(20, 400))
	what := ""
	n := rng.IntN(24)
	if s.cfg.Lossy && rng.IntN(6) == 0 {
		n = 16 // what such a run is about
	}
	if s.cluster != nil && rng.IntN(6) == 0 {
		s.cfg.Log.Debug(s.breakServers(ctx))
		return
	}
	switch {
	case n < 6:
		d.cut()
		s.report.Cuts++
		what = "cut " + d.name
	case n < 10:
		deaf := rng.IntN(2) == 0
		d.lose(deaf, s.span(20, 300))
		s.report.Cuts++
		what = fmt.Sprintf("deaf %v, mute %v: %s", deaf, !deaf, d.name)
	case n < 14:
		s.fleet.crash(d, back)
		s.report.Crashes++
		what = "crash " + d.name
	case n < 16:
		s.fleet.halt(d, back)
		s.report.Stops++
		what = "stop " + d.name
	case n < 17 && s.cluster != nil:
		what = s.breakServers(ctx)
	case n < 17:
		what = "restart NATS"
		s.report.Restarts++
		if err := s.cfg.Server.Restart(); err != nil {
			what = "NATS does not start: " + err.Error()
		}
	case n < 18:
		what = "forge"
		s.forge()
	case n < 19:
		what = "forget the claims"
		s.hurried(ctx, &what, s.forgetClaims)
	case n < 20:
		what = "ask"
		s.ask()
	case n < 22:
		job := jobs[rng.IntN(len(jobs))]
		what = "job " + job
		s.report.Jobs++
		s.hurried(ctx, &what, func(ctx context.Context) error { return s.start(ctx, job) })
	case n < 23:
		account := accounts[rng.IntN(len(accounts))]
		what = fmt.Sprintf("backfill of account %q", account)
		s.bulk(ctx, account, s.span(100, 3000))
	default:
		if rng.IntN(4) == 0 {
			what = "mark all customers"
			s.report.Floods++
			s.hurried(ctx, &what, s.flood)
		}
	}
	s.cfg.Log.Debug(what)
}

// forge sends a webhook with a wrong signature. STRIPE_EVENTS shows that it was not accepted.
func (s *stage) forge() {
	body := []byte(`{"id":"evt_forged","object":"event","type":"invoice.paid","livemode":false,"data":{"object":{"customer":"cus_0"}}}`)
	s.door.forge(body, stripesim.Sign(body, time.Now(), "whsec_guess"))
	s.report.Forged++
}

// hurried does what NATS may be away for.
func (s *stage) hurried(ctx context.Context, what *string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := do(ctx); err != nil {
		*what += ": " + err.Error()
	}
}

func (s *stage) forgetClaims(ctx context.Context) error {
	st, err := s.js.Stream(ctx, "KV_"+topology.PaceBucket)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // it is in memory: a server that restarted has forgotten it
	}
	if err != nil {
		return err
	}
	return st.Purge(ctx)
}

// ask requests a fresh snapshot, like an app after a checkout, without waiting for the answer.
func (s *stage) ask() {
	p := s.life.people[s.fate.IntN(len(s.life.people))]
	body := fmt.Appendf(nil, `{"customer":%q,"account":%q}`, p.customer.ID, p.customer.Account)
	_ = s.nc.PublishRequest(entitlement.SyncSubject(mode), s.nc.NewRespInbox(), body) // NATS may be away
}

func (d *daemon) cut() {
	if d.nats != nil {
		d.nats.cut()
	}
	if d.public != nil {
		d.public.cut()
	}
}

func (d *daemon) lose(deaf bool, t time.Duration) {
	if d.nats != nil {
		d.nats.lose(deaf, t)
	}
}

// mark marks a customer once more, in a lane.
func (s *stage) mark(ctx context.Context, c stripeevent.Customer, lane stripeevent.Lane) error {
	if _, err := s.js.Publish(ctx, stripeevent.SyncSubject(lane, c), stripeevent.EncodeMarker(replayed)); err != nil {
		return fmt.Errorf("mark %s once more: %w", c, err)
	}
	return nil
}

var replayed = entitlement.Cause{Trigger: stripeevent.TriggerReplay}

// work returns the subjects of the pending markers and jobs. Coverage does not count if it is due
// every few seconds: on a slow machine one run is always in progress.
func (s *stage) work(ctx context.Context) (markers, jobs []string, err error) {
	st, err := s.js.Stream(ctx, topology.SyncStream)
	if err != nil {
		return nil, nil, fmt.Errorf("look at the markers: %w", err)
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return nil, nil, fmt.Errorf("look at the markers: %w", err)
	}
	for subject := range info.State.Subjects {
		switch {
		case strings.HasPrefix(subject, "stripe.sync."):
			markers = append(markers, subject)
		case s.coverage && subject == stripeevent.JobSubject(mode, "coverage"):
		case strings.HasPrefix(subject, stripeevent.JobSubject(mode, "")):
			jobs = append(jobs, subject)
		}
	}
	return markers, jobs, nil
}
