package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/mirror"
	"entitled/internal/topology"
	"entitled/internal/wiring"
)

type topologyCmd struct {
	Show  topologyShowCmd  `cmd:"" default:"withargs" help:"Compare what is in NATS with what is needed, and change nothing (the default)."`
	Apply topologyApplyCmd `cmd:"" help:"Create what is missing and mend what can be mended in place."`
}

// Help is shown below the usage.
func (topologyCmd) Help() string {
	return `Exits with 1 when something is missing or different.

	entitled topology
	entitled topology apply --mode live
	REPLICAS=3 entitled topology apply --recreate

entitled topology show --help tells of --mode, --json and the other flags of comparing.`
}

// topologyFlags are what both need.
type topologyFlags struct {
	JSON     bool                    `name:"json" help:"Print JSON."`
	Mode     string                  `placeholder:"MODE" help:"Look at one mode only: test or live. Default: those that have anything in NATS, else both."`
	Settings wiring.TopologySettings `embed:""`
	natsFlags
}

// open connects and returns what is needed, asset by asset.
func (f topologyFlags) open(ctx context.Context, s *session) (*nats.Conn, jetstream.JetStream, []topology.Asset, error) {
	check := daemon.Checker{Program: s.Name}
	options := f.Settings.Check(&check)
	if err := check.Err(); err != nil {
		return nil, nil, nil, err
	}
	nc, err := f.connect(s, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err == nil {
		options.Modes, err = f.modes(ctx, js)
	}
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	return nc, js, topology.All(options), nil
}

// modes are those that are in use: a pipeline that only ever has a test key is not incomplete for want of live buckets.
func (f topologyFlags) modes(ctx context.Context, js jetstream.JetStream) ([]entitlement.Mode, error) {
	if f.Mode != "" {
		m, err := parseMode(f.Mode)
		return []entitlement.Mode{m}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	both := []entitlement.Mode{entitlement.Live, entitlement.Test}
	var used []entitlement.Mode
	for _, m := range both {
		_, err := js.KeyValue(ctx, entitlement.Bucket(m))
		switch {
		case err == nil, errors.Is(err, jetstream.ErrBadBucket):
			used = append(used, m)
		case !errors.Is(err, jetstream.ErrBucketNotFound):
			return nil, withHint(fmt.Errorf("look for bucket %s: %w", entitlement.Bucket(m), err),
				"is JetStream on, and may this NATS user see its streams? the user ops of nats.conf may")
		}
	}
	if len(used) == 0 {
		return both, nil
	}
	return used, nil
}

type topologyShowCmd struct {
	topologyFlags
}

// Run prints each asset and how it is.
func (t topologyShowCmd) Run(ctx context.Context, s *session) error {
	nc, js, assets, err := t.open(ctx, s)
	if err != nil {
		return err
	}
	defer nc.Close()
	return t.show(ctx, s, js, assets)
}

func (f topologyFlags) show(ctx context.Context, s *session, js jetstream.JetStream, assets []topology.Asset) error {
	findings, err := topology.Check(ctx, js, assets)
	if err != nil {
		return err
	}
	var names []string
	for _, a := range assets {
		names = append(names, a.String())
	}
	if mirrors, wrong, err := mirror.Check(ctx, js.Conn()); err != nil {
		return err
	} else {
		names, findings = append(names, mirrors...), append(findings, wrong...)
	}
	rows := assetRows(names, findings)
	if f.JSON {
		if err := printRows(s, rows); err != nil {
			return err
		}
	} else {
		showRows(s.out, rows)
	}
	if len(findings) == 0 {
		return nil
	}
	if err := topology.Whole(ctx, js); err != nil {
		return notWhole(err)
	}
	return withHint(summary(findings), nextApply(findings))
}

// notWhole shows the next step of an error as a hint.
func notWhole(err error) error {
	if e, ok := errors.AsType[topology.NotWholeError](err); ok {
		return withHint(errors.New(e.Problem()), e.Next())
	}
	return err
}

type topologyApplyCmd struct {
	Recreate   bool `help:"Also delete and create again what cannot be changed in place and whose content is rebuilt by itself: STRIPE_SYNC, stripe_pace and the consumers. Ingest answers 503 meanwhile, and Stripe sends again."`
	AcceptLoss bool `help:"Also create empty what was lost while other data refers to it: STRIPE_EVENTS, or a bucket of snapshots with records. Without it apply refuses, because a backup may bring it back."`
	topologyFlags
}

// noReplicas is the server's code for more replicas than it can have (JSStreamReplicasNotSupportedErr; nats.go has no name for it).
const noReplicas = 10074

// Run creates and mends, then shows what there is.
func (t topologyApplyCmd) Run(ctx context.Context, s *session) error {
	nc, js, assets, err := t.open(ctx, s)
	if err != nil {
		return err
	}
	defer nc.Close()
	// A setting that is not given may have been forgotten: the daemons may keep events for longer, and more replicas.
	changes, err := topology.Apply(ctx, js, assets, topology.ApplyOptions{
		Recreate: t.Recreate, AcceptLoss: t.AcceptLoss,
		Shorten: t.Settings.EventsMaxAge != "", Fewer: t.Settings.Replicas != "",
	})
	if err == nil {
		var mirrors []topology.Change
		mirrors, err = mirror.Apply(ctx, nc)
		changes = append(changes, mirrors...)
	}
	if t.JSON {
		if perr := printApplied(s, changes); perr != nil {
			return perr
		}
	} else {
		showApplied(s.out, changes, err == nil)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == noReplicas {
		return withHint(err, "REPLICAS says on how many servers of a cluster each stream is: no more than there are")
	}
	var left *topology.NotAppliedError
	if !errors.As(err, &left) {
		return notWhole(err)
	}
	hint := topology.ByRestore
	switch {
	case left.Shortens():
		hint = shortenHint
	case left.Recreatable && !t.Recreate:
		hint = "`entitled topology apply --recreate` deletes and creates again what the system can rebuild"
	}
	for _, d := range left.Differences {
		fmt.Fprintf(s.Stderr, "  %s\n", d)
	}
	return withHint(fmt.Errorf("%s left as found", count(len(left.Differences), "difference")), hint)
}

// An assetRow is one asset as the table shows it.
type assetRow struct {
	Asset       string          `json:"asset"`
	State       string          `json:"state"` // ok, missing or different
	Differences []differenceRow `json:"differences,omitempty"`
}

type differenceRow struct {
	Field string `json:"field"`
	Have  string `json:"have"`
	Want  string `json:"want"`
	// InPlace says that apply can change it without re-creating the asset.
	InPlace bool `json:"in_place"`
}

func assetRows(assets []string, findings []topology.Finding) []assetRow {
	found := map[string]topology.Finding{}
	for _, f := range findings {
		found[f.Asset] = f
	}
	rows := make([]assetRow, 0, len(assets))
	for _, a := range assets {
		f, ok := found[a]
		row := assetRow{Asset: a, State: "ok", Differences: differenceRows(f.Differences)}
		switch {
		case ok && f.Missing:
			row.State = "missing"
		case ok:
			row.State = "different"
		}
		rows = append(rows, row)
	}
	return rows
}

func differenceRows(diffs []topology.Difference) []differenceRow {
	var rows []differenceRow
	for _, d := range diffs {
		rows = append(rows, differenceRow{d.Field, d.Have, d.Want, d.InPlace})
	}
	return rows
}

func showRows(out terminal, rows []assetRow) {
	width := 0
	for _, r := range rows {
		width = max(width, columns(r.Asset))
	}
	for _, r := range rows {
		mark, c := "✓", grants
		switch r.State {
		case "missing":
			mark, c = "✗", denies
		case "different":
			mark, c = "~", ending
		}
		fmt.Fprintf(out, "%s %s  %s\n", out.paint(c, mark), pad(printable(r.Asset), width), out.paint(c, r.State))
		for _, d := range r.Differences {
			how := ""
			if !d.InPlace {
				how = ", which cannot be changed in place"
			}
			fmt.Fprintf(out, "    %s is %s, want %s%s\n", d.Field, out.paint(denies, readable(d.Have)), out.paint(grants, readable(d.Want)), how)
		}
	}
}

// readable writes a duration of days in days.
func readable(value string) string {
	const day = 24 * time.Hour
	if d, err := time.ParseDuration(value); err == nil && d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return printable(value)
}

func showApplied(out terminal, changes []topology.Change, all bool) {
	for _, c := range changes {
		fmt.Fprintf(out, "%s %s %s\n", out.paint(grants, "✓"), c.Action, printable(c.Asset))
		for _, d := range c.Differences {
			fmt.Fprintf(out, "    %s %s → %s\n", d.Field, readable(d.Have), readable(d.Want))
		}
	}
	if len(changes) == 0 && all {
		fmt.Fprintln(out, "nothing to do")
	}
}

func printRows(s *session, rows []assetRow) error {
	return printIndented(s, map[string]any{"assets": rows})
}

func printApplied(s *session, changes []topology.Change) error {
	type row struct {
		Asset       string          `json:"asset"`
		Action      topology.Action `json:"action"`
		Differences []differenceRow `json:"differences,omitempty"`
	}
	rows := make([]row, 0, len(changes))
	for _, c := range changes {
		rows = append(rows, row{c.Asset, c.Action, differenceRows(c.Differences)})
	}
	return printIndented(s, map[string]any{"applied": rows})
}

func printIndented(s *session, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s\n", b)
	return err
}

// summary counts what is not as it must be.
func summary(findings []topology.Finding) error {
	missing := 0
	for _, f := range findings {
		if f.Missing {
			missing++
		}
	}
	switch different := len(findings) - missing; {
	case missing == 0:
		return fmt.Errorf("%s different", count(different, "asset"))
	case different == 0:
		return fmt.Errorf("%s missing", count(missing, "asset"))
	default:
		return fmt.Errorf("%s missing, %d different", count(missing, "asset"), different)
	}
}

const shortenHint = "set REPLICAS and EVENTS_MAX_AGE: as the daemons have them, or to what you want; `entitled topology apply` then removes replicas that are too many and what is older"

// nextApply says what mends the findings.
func nextApply(findings []topology.Finding) string {
	hint, missing := "`entitled topology apply` mends that", false
	for _, f := range findings {
		missing = missing || f.Missing
		for _, d := range f.Differences {
			if d.Loses {
				return shortenHint
			}
			if !d.InPlace {
				return "`entitled topology apply` mends what it can and says what can be done about the rest; or set REPLICAS and EVENTS_MAX_AGE as the daemons have them"
			}
		}
	}
	if missing {
		hint += "; the daemons create what is missing themselves, if their NATS users may"
	}
	return hint
}
