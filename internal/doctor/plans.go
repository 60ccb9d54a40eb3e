package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/internal/timing"
)

// plans checks the plans document in force, whether the snapshots are decided under it, and what
// the check of the snapshots has found in them. The document is read last, so that one applied
// meanwhile does not look older than the snapshots.
func (e *examination) plans(ctx context.Context) (Check, error) {
	b, err := applied.Open(ctx, e.JS, e.mode)
	if err != nil {
		return Check{}, err
	}
	p, err := b.ReadProgress(ctx)
	if err != nil {
		return Check{}, err
	}
	f, err := b.InForce(ctx)
	if err != nil {
		return Check{}, err
	}
	if why := unusable(f, max(e.contents.Number, p.Number, p.Deciding)); why != "" {
		return Check{State: Fail,
			Text: why + ": syncers take no work, and every snapshot stays as it is",
			Next: e.command("plans log") + " lists the documents, and " + e.command("plans apply FILE") +
				" puts one in force"}, nil
	}
	c := Check{State: OK, Text: "no document is applied"}
	if f.Present() {
		c.Text = fmt.Sprintf("document %d is in force, applied %s ago by %s",
			f.Number, ago(f.At, e.cfg.Now()), cmp.Or(f.By, "an unknown user"))
		c.deciding(f, p, e.cfg.Now())
	}
	if err := e.features(ctx, &c, f.Document); err != nil {
		return Check{}, err
	}
	e.contained(&c)
	e.unbound(&c, f.Document)
	return c, nil
}

// features warns if active entitlements would be read, and Stripe refuses to say whether there are
// features.
func (e *examination) features(ctx context.Context, c *Check, doc *plans.Document) error {
	refused, err := e.FeaturesRefused(ctx)
	if err == nil && refused && doc.Entitlements("") == plans.ReadIfAny {
		c.warn("Stripe refuses the syncers' key the list of features, so active entitlements are not read",
			"give the key rak_entitlement_read if customers have some; else the line `stripe_entitlements: false` in a "+
				"plans document ends this")
	}
	return err
}

// unusable says why syncers cannot use the document in force, "" if they can. known is the greatest
// number of a document that was in force.
func unusable(f applied.InForce, known uint64) string {
	switch {
	case f.Deleted:
		return "the document was deleted"
	case !f.Present() && known > 0:
		return fmt.Sprintf("there is no document, and document %d was in force", known)
	case f.Err != nil:
		return "the document cannot be read: " + f.Err.Error()
	case f.Number < known:
		return fmt.Sprintf("document %d is in force, and document %d was before", f.Number, known)
	}
	return ""
}

// deadAfter is the time after which a job that decides snapshots has neither a syncer that works on
// it nor one that takes it over: that is noticed after ReliefDead, once the job is due again.
var deadAfter = timing.DecideEvery + 2*timing.Production.ReliefDead

// deciding says whether every snapshot is decided under the document in force.
func (c *Check) deciding(f applied.InForce, p applied.Progress, now time.Time) {
	text := ""
	switch {
	case p.Deciding != 0:
		text = fmt.Sprintf("%d of about %s are decided under document %d", p.Done, count(int(p.Total), "snapshot"),
			p.Deciding)
	case p.Number < f.Number:
		text = "the snapshots are not yet decided under it"
	default:
		c.Text += "; every snapshot is decided under it"
		return
	}
	since := p.At
	if p.Deciding < f.Number && f.At.After(since) {
		since = f.At // the syncers did not know of it earlier
	}
	if now.Sub(since) <= deadAfter {
		c.warn(text, "a syncer decides them again: look at the jobs and at the syncers' log if that does not end")
		return
	}
	if p.Deciding != 0 {
		text += "; the syncer " + cmp.Or(p.By, "that decides them") + " has not reported for " + span(now.Sub(since))
	}
	c.warn(text, "no syncer goes on with it: start one of this mode, or see why those that run are not ready; it "+
		"goes on within two minutes")
	c.State = Fail
}

// contained says what needs attention in the snapshots.
func (e *examination) contained(c *Check) {
	s := e.contents
	if !s.Read {
		c.Text += "; the snapshots were not read for problems and shared ids"
		return
	}
	if key := s.Problem; s.Problems > 0 {
		if _, isID := entitlement.ParseRef(key); isID { // a customer with a name of its creator's choice
			key = "key:" + key
		}
		c.warn(fmt.Sprintf("%s with problems, %s for one: words in Stripe's metadata that grant nothing",
			count(s.Problems, "snapshot"), s.Problem), e.command("explain "+key)+" names them")
	}
	if s.Shared > 0 {
		shown, more := s.Keys, ""
		if len(shown) > 3 {
			shown, more = shown[:3], ", …"
		}
		c.warn(fmt.Sprintf("%s of yours at several customers, %q for one (%s%s): readers unite their grants",
			count(s.Shared, "id"), s.ID, strings.Join(shown, ", "), more),
			"if they are not meant to be one, correct the id in the metadata of these customers in Stripe")
	}
}

// unbound counts the customers that pay and that an app which asks by its own ids does not see.
func (e *examination) unbound(c *Check, d *plans.Document) {
	s := e.contents
	if d == nil || d.IDs == nil || s.Unbound == 0 {
		return
	}
	c.warn(fmt.Sprintf("%s with a subscription and without an id of yours, %s for one: an app that asks by your ids does "+
		"not see them", customers(uint64(s.Unbound)), s.FirstUnbound),
		fmt.Sprintf("name each as `customer` in the body of a checkout of its user, which writes the id, or write it "+
			"into the customer's metadata %s in Stripe", d.IDs.Metadata))
}

// warn adds a finding behind the text that is there.
func (c *Check) warn(text, next string) {
	c.State, c.Text, c.Next = Warn, phrases(c.Text, text), phrases(c.Next, next)
}
