package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/inspect"
	"entitled/internal/stripeevent"
)

const (
	// A marker of the webhook lane may wait for its customer's pace, 8 s, and for Stripe's budget.
	nowLate, nowStuck = time.Minute, 15 * time.Minute
	// Bulk work uses the budget that webhooks leave: a replay may take hours and is not stuck.
	bulkLate = 6 * time.Hour
	// A job ends within minutes. Its next schedule replaces it, and its age starts again.
	jobLate = 15 * time.Minute
	// An account without events for this long has no customers, or no endpoint.
	silent = 24 * time.Hour
	// This long after the first failure several retries have failed too.
	stalled = 15 * time.Second
	// comparing bounds the reading of the logs and the bucket of a mode that finds customers
	// without a snapshot. A million customers took 34 s on a busy machine, and an operator waits
	// for both modes.
	comparing = 30 * time.Second
	// The servers' clocks only date schedules and records; nothing is ordered by them.
	natsSkewed, natsWrong = 5 * time.Second, time.Minute
)

// syncers asks the micro service of the mode for its instances.
func syncers(ctx context.Context, nc *nats.Conn, m entitlement.Mode) Check {
	c := Check{Name: "syncers", Mode: m, State: OK}
	n, err := inspect.CountSyncers(ctx, nc, m)
	switch {
	case err != nil:
		c.State, c.Text, c.Next = Warn, "cannot ask for them: "+err.Error(),
			"run this as a NATS user who may publish to $SRV.PING.>, ops of nats.conf for one"
	case n == 0:
		c.State, c.Text = Fail, "none is running: markers wait, and snapshots stay as they are"
		c.Next = "start a syncer with a " + string(m) + " key; its /readyz says why if it cannot work"
	default:
		c.Text = fmt.Sprintf("%d answering", n)
	}
	return c
}

// work makes the checks of one mode that read its streams and buckets.
func work(ctx context.Context, js jetstream.JetStream, cfg Config, m entitlement.Mode) []Check {
	open, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	i, err := inspect.Open(open, js, m)
	if err != nil {
		return []Check{unread("backlog", m, err)}
	}
	i.Timing = cfg.Timing
	e := &examination{Inspector: i, cfg: cfg, mode: m}
	return []Check{
		e.one(ctx, "webhook lane", e.lane(stripeevent.Now)),
		e.one(ctx, "bulk lane", e.lane(stripeevent.Bulk)),
		e.one(ctx, "failing customers", e.failing),
		e.bounded(ctx, comparing+2*within, "snapshots", e.snapshots),
		e.one(ctx, "plans", e.plans),
		e.one(ctx, "coverage", e.coverage),
		e.one(ctx, "jobs", e.jobs),
		e.one(ctx, "webhooks", e.silence),
		e.one(ctx, "clock of NATS", e.clock),
	}
}

func unread(name string, m entitlement.Mode, err error) Check {
	return Check{Name: name, Mode: m, State: Fail, Text: "not looked at: " + err.Error(),
		Next: "run this as a NATS user who may read it, ops of nats.conf for one, and look whether the stream has a " +
			"leader"}
}

// An examination is that of one mode.
type examination struct {
	*inspect.Inspector
	cfg  Config
	mode entitlement.Mode
	// contents are those of the snapshots: the check of the snapshots reads them.
	contents inspect.Contents
}

func (e examination) one(ctx context.Context, name string, look func(context.Context) (Check, error)) Check {
	return e.bounded(ctx, 2*within, name, look)
}

func (e examination) bounded(ctx context.Context, limit time.Duration, name string,
	look func(context.Context) (Check, error)) Check {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := look(ctx)
	if err != nil {
		return unread(name, e.mode, err)
	}
	c.Name, c.Mode = name, e.mode
	return c
}

func (e examination) lane(l stripeevent.Lane) func(context.Context) (Check, error) {
	return func(ctx context.Context) (Check, error) {
		b, err := e.Lane(ctx, l)
		if err != nil || b.Len() == 0 {
			return Check{State: OK, Text: "no customer waits"}, err
		}
		c := Check{
			State: OK,
			Text: fmt.Sprintf("%s dirty (%d waiting, %d in hand, %d of those delivered before)",
				customers(b.Len()), b.Waiting, b.Delivered, b.Redelivered),
		}
		if b.Oldest.IsZero() {
			return c, nil
		}
		age := e.cfg.Now().Sub(b.Oldest)
		c.Text += ", the oldest for " + span(age)
		next := "check that a syncer is ready (/readyz), that Stripe answers and that the budget is large enough " +
			"(STRIPE_RATE); " + e.command("parked --all") + " shows who fails, and why"
		switch {
		case l == stripeevent.Now && age > nowStuck:
			c.State, c.Next = Fail, next
		case l == stripeevent.Now && age > nowLate, age > bulkLate:
			c.State, c.Next = Warn, next
		}
		return c, nil
	}
}

func (e examination) failing(ctx context.Context) (Check, error) {
	// Read first, so that a success in the meantime can only reduce the number of failing
	// customers.
	success, err := e.NewestSnapshot(ctx)
	if err != nil {
		return Check{}, err
	}
	f, err := e.Failing(ctx, success)
	if err != nil {
		return Check{}, err
	}
	if f.Parked+f.Retried == 0 {
		return Check{State: OK, Text: "none, and none parked"}, nil
	}
	c := Check{State: Warn, Text: customers(uint64(f.Retried)) + " retried after a failure, none parked",
		Next: e.command("parked --all") + " shows why; they are parked after 20 failures while others succeed"}
	if f.Parked > 0 {
		c.Text = fmt.Sprintf("%s parked, the first %s ago; %d more retried by themselves",
			customers(uint64(f.Parked)), ago(f.OldestParked, e.cfg.Now()), f.Retried)
		c.Next = e.command("parked") + " shows why, and with --redrive-all tries them again"
		if f.Retried > 0 {
			c.Next = e.command("parked --all") + " shows why, and " + e.command("parked --redrive-all") +
				" tries those again that are parked"
		}
	}
	if f.Stalled == 0 || e.cfg.Now().Sub(f.StalledAt) < stalled {
		return c, nil
	}
	c.Text += fmt.Sprintf("; no sync has succeeded since %s began to fail, the first %s ago; the last error: %s",
		customers(uint64(f.Stalled)), ago(f.StalledAt, e.cfg.Now()), f.Error)
	if f.Stalled > 1 { // a single customer on a quiet account may be its own fault
		c.State = Fail
		c.Next = e.command("parked --all") +
			" shows all reasons; status.stripe.com, the network, STRIPE_API_BASE? the syncers try again by " +
			"themselves, and an outage parks no customer"
	}
	return c, nil
}

// snapshots checks for customers without a snapshot, who have no access in apps.
func (e *examination) snapshots(ctx context.Context) (Check, error) {
	s, err := e.Snapshots(ctx, e.cfg.Marks, comparing)
	e.contents = s.Contents
	return e.compared(s), err
}

func (e examination) compared(s inspect.Snapshots) Check {
	c := Check{State: OK, Text: count(s.Entries, "snapshot")}
	if s.Counted {
		c.Text += fmt.Sprintf("; both modes together have as many as customers with a record (%d): so many are "+
			"counted, and not compared one by one", s.Recorded)
		return c
	}
	if s.Missing > 0 {
		c.Text += "; none for " + lackers(s)
	}
	switch {
	case s.Lost > 0:
		c.State = Fail
		c.Next = "apps see no access for them: " + e.command("replay --rebuild") +
			" has them read from Stripe; `entitled backfill` also finds customers that no stream names any more"
	case s.Marked+s.Failing > 0:
		c.State, c.Next = Warn,
			"apps see no access for them until a sync succeeds: the lines above say how many wait, and how many fail"
	case s.Unread != "":
		c.State = Warn
		c.Text += fmt.Sprintf(
			"; %s could not be read to their end in %s, so not all are looked for: both modes have records of %s",
			s.Unread, span(comparing), customers(uint64(s.Recorded)))
		c.Next = e.command("replay --rebuild --dry-run") + " counts those without a snapshot, and takes longer"
	case s.Looked < s.Missing:
		c.State = Warn
		c.Next = "those checked only wait for their first sync; run this again when fewer do"
	case s.Missing == 0:
		c.Text += ", none is missing"
	}
	return c
}

// lackers formats the number of customers without a snapshot.
func lackers(s inspect.Snapshots) string {
	text := customers(uint64(s.Missing)) + " that a record or an event names"
	if s.Unread != "" {
		text = "at least " + text
	}
	if s.Looked < s.Missing {
		text += fmt.Sprintf(", of %d looked at", s.Looked)
	}
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{s.Lost, "with nothing that brings one"}, {s.Marked, "marked for a sync"},
		{s.First, "marked for the first sync"}, {s.Failing, "failing"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return text + ": " + strings.Join(parts, ", ")
}

// command returns a command line of this tool for the mode.
func (e examination) command(line string) string {
	return "`entitled " + line + " --mode " + string(e.mode) + "`"
}

func (e examination) coverage(ctx context.Context) (Check, error) {
	u, err := e.Uncovered(ctx, e.cfg.Marks)
	if err != nil {
		return Check{}, err
	}
	if u.Customers == 0 {
		return Check{State: OK,
			Text: fmt.Sprintf("every event has led to a sync, a marker (%d) or a parked customer", u.Waiting)}, nil
	}
	every, whose, err := e.coverageEvery(ctx)
	if err != nil {
		return Check{}, err
	}
	age := e.cfg.Now().Sub(u.Oldest)
	c := Check{State: Warn, Text: fmt.Sprintf("%s with an event that no sync covers and no marker, the oldest %s ago",
		customers(uint64(u.Customers)), span(age)),
		Next: "the job coverage marks them within " + every.String() + " (" + whose +
			"); look for what lost their markers"}
	if age > 2*every+time.Minute {
		c.State = Fail
		c.Next = "the job coverage does not run: look at the jobs, at the syncers and at their log; " +
			e.command("replay") + " marks them by hand"
	}
	return c, nil
}

// coverageEvery returns the interval of the coverage job: from its schedule, as the syncers set it,
// or else from this program's settings.
func (e examination) coverageEvery(ctx context.Context) (every time.Duration, whose string, err error) {
	found, err := e.Schedules(ctx)
	if err != nil {
		return 0, "", err
	}
	if text, ok := strings.CutPrefix(found["coverage"], "@every "); ok {
		if every, err := time.ParseDuration(text); err == nil {
			return every, "its schedule", nil
		}
	}
	return e.cfg.CoverageEvery, "COVERAGE_EVERY", nil
}

func (e examination) jobs(ctx context.Context) (Check, error) {
	found, err := e.Schedules(ctx)
	if err != nil {
		return Check{}, err
	}
	var missing []string
	for _, name := range inspect.JobNames() {
		if found[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return Check{State: Fail, Text: "no schedule for " + strings.Join(missing, ", "),
			Next: "a running syncer restores it within a minute, or logs why it cannot"}, nil
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, name+" "+found[name])
	}
	b, err := e.Jobs(ctx)
	if err != nil {
		return Check{}, err
	}
	c := Check{State: OK, Text: strings.Join(list, ", ")}
	if age := e.cfg.Now().Sub(b.Oldest); b.Len() > 0 && !b.Oldest.IsZero() && age > jobLate {
		c.State, c.Text = Warn, fmt.Sprintf("%s; one is due since %s", c.Text, span(age))
		c.Next = "check that a syncer runs; a failed job is in its log, and is retried"
	} else if b.Redelivered > 0 {
		c.State, c.Text = Warn, c.Text+"; one has failed and is retried"
		c.Next = "see the log of the syncers"
	}
	return c, nil
}

func (e examination) silence(ctx context.Context) (Check, error) {
	last, err := e.NewestEvent(ctx)
	if err != nil {
		return Check{}, err
	}
	const next = "check the endpoint's URL and failures in Stripe's dashboard, and that ingest's /readyz is 200; a " +
		"quiet account is fine"
	if last.IsZero() {
		return Check{State: Warn, Text: "none has arrived yet", Next: next}, nil
	}
	c := Check{State: OK, Text: "the last one came " + ago(last, e.cfg.Now()) + " ago"}
	if e.cfg.Now().Sub(last) > silent {
		c.State, c.Next = Warn, next
		return c, nil
	}
	typ, at, err := e.thin(ctx)
	if typ != "" {
		c.State = Warn
		c.Text += fmt.Sprintf("; thin events come that name no customer, the last %s ago, and none with its object: %s",
			ago(at, e.cfg.Now()), typ)
		c.Next = "nothing is synced for them: add a webhook endpoint with snapshot payloads (the classic kind) for " +
			"these event types in Stripe"
	}
	return c, err
}

// thin returns the type of the last thin event that marked no customer; "" if it is old, or if the
// same event also came with its object.
func (e examination) thin(ctx context.Context) (string, time.Time, error) {
	typ, at, err := e.NewestThin(ctx)
	if err != nil || typ == "" || e.cfg.Now().Sub(at) > silent || !e.cfg.Marks.Marks(typ) {
		return "", at, err
	}
	whole, err := e.NewestOf(ctx, stripeevent.Snapshot(typ))
	if err != nil || e.cfg.Now().Sub(whole) <= silent {
		return "", at, err
	}
	return typ, at, nil
}

func (e examination) clock(ctx context.Context) (Check, error) {
	before := e.cfg.Now()
	server, err := e.Clock(ctx)
	if err != nil {
		return Check{}, err
	}
	return skewed(offset(server, before, e.cfg.Now()), "the NATS server's clock", natsSkewed, natsWrong), nil
}

// offset returns the certain difference of a clock that read t between before and after; it is
// positive if that clock is ahead.
func offset(t, before, after time.Time) time.Duration {
	switch {
	case t.After(after):
		return t.Sub(after)
	case t.Before(before):
		return t.Sub(before)
	}
	return 0
}

func skewed(by time.Duration, whose string, warn, fail time.Duration) Check {
	way := "ahead of"
	if by < 0 {
		by, way = -by, "behind"
	}
	c := Check{State: OK, Text: whose + " agrees with this machine's"}
	if by >= time.Second {
		c.Text = fmt.Sprintf("%s is %s %s this machine's", whose, span(by), way)
	}
	if by > warn {
		c.State, c.Next = Warn, "enable time synchronization (NTP) on both machines"
	}
	if by > fail {
		c.State = Fail
	}
	return c
}
