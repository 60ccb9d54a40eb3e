package tell

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/term"
)

// Snapshot prints a snapshot: first the access, last the origin.
func Snapshot(out term.Terminal, s *entitlement.Snapshot, revision uint64, now time.Time) {
	v := View{out}
	v.First(s, now)
	v.Rest(s, revision, now)
}

// Customers prints what the customers with an id have together, and then the snapshot of each.
func Customers(out term.Terminal, id string, c entitlement.Customers, revisions []uint64, documents Documents,
	now time.Time) {
	v, granted := View{out}, givenTo(c)
	mark, tone := "✗", term.Denies
	if c.Allowed(now) {
		mark, tone = "✓", term.Grants
	}
	fmt.Fprintf(out, "%s %s  %s\n", out.Paint(tone, mark), out.Paint(term.Strong, term.Printable(id)),
		out.Paint(tone, Together(c, now)))
	if len(c.Snapshots) > 0 {
		out.Row("customers", strings.Join(c.Keys(), "  "))
	}
	features, limits := names(granted)
	features = slices.DeleteFunc(features, func(f string) bool { return !c.Has(f, now) })
	if len(features) > 0 {
		out.Row("features", strings.Join(features, "  "))
	}
	for _, name := range limits {
		if limit, known, why := WhyLimit(c, documents, name, now); known {
			out.Row("limit", fmt.Sprintf("%s %s %s", name, limit, why))
		}
	}
	for i, s := range c.Snapshots {
		fmt.Fprintln(out)
		v.First(s, now)
		v.Rest(s, revisions[i], now)
	}
}

// Together says whether the customers with an id have access.
func Together(c entitlement.Customers, now time.Time) string {
	switch n := len(c.Snapshots); {
	case n == 0:
		return "no access: no customer has this id"
	case n == 1:
		return Access(c.Snapshots[0], now)
	case c.Allowed(now):
		return fmt.Sprintf("access: %d customers answer together", n)
	default:
		return fmt.Sprintf("no access: none of %d customers with this id has any", n)
	}
}

// First is the line that says what it allows.
func (v View) First(s *entitlement.Snapshot, now time.Time) {
	mark, c := Standing(s, now)
	customer := stripeevent.Customer{Account: s.Account, ID: s.Customer}
	fmt.Fprintf(v.Out, "%s %s  %s  %s\n", v.Out.Paint(c, mark),
		v.Out.Paint(term.Strong, term.Printable(customer.String())),
		v.Out.Paint(c, Access(s, now)), v.Out.Paint(term.Faint, string(entitlement.ModeOf(s.Livemode))+" mode"))
}

// Rest prints the [Rows] of a snapshot.
func (v View) Rest(s *entitlement.Snapshot, revision uint64, now time.Time) {
	for _, r := range Rows(s, revision, now) {
		v.Out.Row(r.Label, r.Text)
	}
}

// A Row is a labelled line. A label that is empty goes on with the row above.
type Row struct{ Label, Text string }

// Rows says what a snapshot holds, line by line, the origin last.
func Rows(s *entitlement.Snapshot, revision uint64, now time.Time) (rows []Row) {
	row := func(label, text string) { rows = append(rows, Row{label, text}) }
	if len(s.Features) > 0 {
		row("features", strings.Join(s.Features, "  "))
	}
	rows = append(rows, grantRows(s, now)...)
	for i := range s.Subscriptions {
		row("subscription", subscriptionText(&s.Subscriptions[i], now))
	}
	if len(s.Subscriptions) == 0 && !s.Deleted {
		row("subscriptions", "none")
	}
	if len(s.Metadata) > 0 {
		row("metadata", metadataText(s.Metadata))
	}
	if len(s.Omitted) > 0 {
		row("left out", strings.Join(s.Omitted, ", ")+": too large for a message of the NATS server "+
			"(max_payload)")
	}
	if b := s.NextBoundary; b != nil {
		row("next change", fmt.Sprintf("due %s; a check follows 2 minutes later", Instant(*b, now)))
	}
	if s.AsOf.IsZero() {
		row("as of", fmt.Sprintf("not read from Stripe: no syncer wrote this entry; revision %d", revision))
		return rows
	}
	cause := "by " + s.Cause.Trigger
	if s.Cause.Event != "" { // it led to the sync; another event may report the change
		cause = fmt.Sprintf("after %s %s", s.Cause.Type, s.Cause.Event)
	}
	row("changed", Since(s.ChangedAt, now)+" "+cause)
	row("as of", fmt.Sprintf("%s (%s), revision %d", s.AsOf.UTC().Format("2006-01-02 15:04:05.000 UTC"),
		Since(s.AsOf, now), revision))
	return rows
}

// Access says whether a snapshot gives access and why, in a sentence.
func Access(s *entitlement.Snapshot, now time.Time) string {
	status := Status(s)
	if s.Status == entitlement.StatusNone {
		status = "no subscription"
	}
	switch allowed := s.Allowed(now); {
	case s.Deleted:
		return "no access: the customer was deleted, or Stripe does not know it"
	case allowed && s.AccessUntil != nil:
		return fmt.Sprintf("access, %s, until %s", status, Instant(*s.AccessUntil, now))
	case allowed:
		return "access, " + status
	case s.Access:
		return fmt.Sprintf("no access: %s, ended %s", status, Instant(*s.AccessUntil, now))
	}
	return "no access: " + status
}

// A View writes labelled rows and wraps them under themselves.
type View struct{ Out term.Terminal }

func (v View) Subscription(s *entitlement.Subscription, now time.Time) {
	v.Out.Row("subscription", subscriptionText(s, now))
}

func subscriptionText(s *entitlement.Subscription, now time.Time) string {
	parts := []string{s.ID, s.Status}
	if plan := PlanOf(s); plan != "" {
		parts = append(parts, plan)
	}
	end := Leaves(s)
	switch {
	case s.EndedAt != nil:
		parts = append(parts, "ended "+Instant(*s.EndedAt, now))
	case end != nil:
		parts = append(parts, "ends "+Instant(*end, now))
	case s.TrialEnd != nil && s.Status == "trialing":
		parts = append(parts, "trial to "+Instant(*s.TrialEnd, now))
	default:
		parts = append(parts, "period to "+Instant(s.CurrentPeriodEnd, now))
	}
	if p := s.PauseCollection; p != nil {
		text := "collection paused (" + p.Behavior + ")"
		if p.ResumesAt != nil {
			text += " until " + Instant(*p.ResumesAt, now)
		}
		parts = append(parts, text)
	}
	if s.PaymentMethod != nil {
		parts = append(parts, PaymentMethod(s.PaymentMethod))
	}
	return strings.Join(parts, " · ")
}

func metadataText(m map[string]string) string {
	list := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	return strings.Join(list, " · ")
}

// Standing is a snapshot's access in one character, and its colour.
func Standing(s *entitlement.Snapshot, now time.Time) (mark string, c term.Tone) {
	switch {
	case !s.Allowed(now):
		return "✗", term.Denies
	case s.AccessUntil != nil:
		return "~", term.Ending
	}
	return "✓", term.Grants
}

// Status is the snapshot's status; "deleted" for a deleted customer, "unknown" for an empty snapshot.
func Status(s *entitlement.Snapshot) string {
	switch {
	case s.Customer == "":
		return "unknown"
	case s.Deleted:
		return "deleted"
	}
	return term.Printable(s.Status)
}

// PlanOf names the prices of a subscription by their lookup keys, or else by their ids.
func PlanOf(s *entitlement.Subscription) string {
	text := ""
	for i, it := range s.Items {
		if i > 0 {
			text += " + "
		}
		if it.LookupKey != "" {
			text += it.LookupKey
		} else {
			text += it.Price
		}
		if it.Quantity != nil && *it.Quantity != 1 {
			text += " ×" + strconv.FormatInt(*it.Quantity, 10)
		}
	}
	return text
}

func PaymentMethod(pm *entitlement.PaymentMethod) string {
	text := pm.Type
	if pm.Brand != "" {
		text = pm.Brand
	}
	if pm.Last4 != "" {
		text += " " + pm.Last4
	}
	return text
}

// Leaves is the time at which a subscription is set to be cancelled, in unix seconds; nil for never.
func Leaves(s *entitlement.Subscription) *int64 {
	switch {
	case s.CancelAt != nil:
		return s.CancelAt
	case s.CancelAtPeriodEnd:
		return &s.CurrentPeriodEnd
	}
	return nil
}
