package stripeevent

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultTypes returns the default of MARK_TYPES: the event types that can change a snapshot, or
// that users expect to. The events of a customer within a second or two lead to one or a few reads
// of Stripe, so a type that arrives together with others costs almost nothing. Types that arrive
// alone and change nothing are left out.
//
// A type that names no customer never marks one. That includes product.*, price.*, plan.* and
// coupon.*: a changed price or product reaches its customers through the syncers' fan-out job.
func DefaultTypes() []string {
	return []string{
		// Every change of a subscription. The end of a trial and of a period arrive as updated, the
		// end of the subscription as deleted.
		"customer.subscription.*",
		// Metadata is part of the snapshot, deletion ends all access, and a customer without
		// subscriptions gets a snapshot too. Not customer.*: discounts, tax ids and sources change
		// no snapshot.
		"customer.created",
		"customer.updated",
		"customer.deleted",
		// The customer's active entitlements. The event has only the first ten, one more reason not
		// to use it as state.
		"entitlements.active_entitlement_summary.updated",
		// The end of a checkout, often the first event of a customer. The async types follow days
		// later, as for bank debits.
		"checkout.session.completed",
		"checkout.session.async_payment_succeeded",
		"checkout.session.async_payment_failed",
		// Invoices whose outcome changes a subscription's status. customer.subscription.updated
		// reports the same, but not always first. upcoming arrives days before a renewal and is a
		// cheap check. Not created, finalized or sent.
		"invoice.paid",
		"invoice.payment_succeeded",
		"invoice.payment_failed",
		"invoice.payment_action_required",
		"invoice.upcoming",
		"invoice.marked_uncollectible",
		"invoice.voided",
		// The payments of invoices. They change no status by themselves, and coalesce with the
		// other events of a checkout. Payments of guests name no customer.
		"payment_intent.succeeded",
		"payment_intent.payment_failed",
		"payment_intent.canceled",
		// Planned changes of a subscription.
		"subscription_schedule.*",
		// Thin events of Stripe's v2 objects, if the related object is a customer. Thin events of
		// v1 objects, as v1.customer.updated, mark like the types without "v1.".
		"v2.*",
		// A card renewed by its bank changes brand and last four digits in the snapshot, and there
		// is no other event of it.
		"payment_method.*",
	}
}

// Thin reports whether events of this type are thin, as an event destination with thin payloads
// sends them. They have only the id of an object, and name a customer only if that object is one.
func Thin(typ string) bool { return strings.HasPrefix(typ, thinV1) || strings.HasPrefix(typ, "v2.") }

// thinV1 is the prefix of thin events about v1 objects; the rest is the type of the same event with
// its object in it.
const thinV1 = "v1."

// Snapshot returns the type of the event that a classic endpoint gets instead of a thin one of this
// type; "" if there is none.
func Snapshot(typ string) string {
	if rest, ok := strings.CutPrefix(typ, thinV1); ok {
		return rest
	}
	return ""
}

// Types is a list of event types whose events mark their customer. The zero value marks none.
type Types struct {
	all      bool
	exact    map[string]struct{}
	prefixes []string
	globs    []string
}

// ParseTypes reads a comma-separated list of globs, the setting MARK_TYPES. A * matches any run of
// characters, dots included, so "customer.subscription.*" also matches future types of Stripe, and
// "*" all types. Spaces around a glob are ignored. The error reports all bad globs, each with a
// hint.
func ParseTypes(list string) (Types, error) {
	var t Types
	var errs []error
	for _, glob := range strings.Split(list, ",") {
		glob = strings.TrimSpace(glob)
		if err := checkGlob(glob); err != nil {
			errs = append(errs, err)
			continue
		}
		head, tail, star := strings.Cut(glob, "*")
		switch {
		case !star:
			if t.exact == nil {
				t.exact = make(map[string]struct{})
			}
			t.exact[glob] = struct{}{}
		case tail != "":
			t.globs = append(t.globs, glob)
		case head == "":
			t.all = true
		default:
			t.prefixes = append(t.prefixes, head)
		}
	}
	if len(errs) > 0 {
		return Types{}, errors.Join(errs...)
	}
	return t, nil
}

func checkGlob(glob string) error {
	if glob == "" {
		return errors.New(`event type "": empty (hint: remove a stray comma, unset MARK_TYPES for the default, or use * for all)`)
	}
	if len(glob) > maxID { // a NATS server ends the connection that names a subject of 4,096 bytes
		return fmt.Errorf("event type of %d bytes: none is longer than %d (hint: separate types with commas)", len(glob),
			maxID)
	}
	for _, c := range glob {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '.', c == '*':
		case 'A' <= c && c <= 'Z':
			return fmt.Errorf("event type %q: %q is upper case (hint: Stripe's types are lower case: %q)",
				glob, c, strings.ToLower(glob))
		case c == '>' || c == '?' || c == '[' || c == '{':
			return fmt.Errorf("event type %q: %q is not a wildcard here (hint: use *, which also matches dots)",
				glob, c)
		default:
			return fmt.Errorf("event type %q: %q is not allowed in an event type (hint: separate types with commas, "+
				"as in customer.subscription.*,invoice.paid)", glob, c)
		}
	}
	if strings.HasPrefix(glob, ".") || strings.HasSuffix(glob, ".") || strings.Contains(glob, "..") {
		return fmt.Errorf(
			"event type %q: an empty part before, between or after dots (hint: as in customer.subscription.*)", glob)
	}
	return nil
}

// Marks reports whether events of this type mark their customer. A thin type v1.… marks if the type
// without "v1." does. It does not allocate.
func (t *Types) Marks(typ string) bool {
	if t.marks(typ) {
		return true
	}
	snapshot := Snapshot(typ)
	return snapshot != "" && t.marks(snapshot)
}

func (t *Types) marks(typ string) bool {
	if t.all {
		return true
	}
	if _, ok := t.exact[typ]; ok {
		return true
	}
	for _, p := range t.prefixes {
		if strings.HasPrefix(typ, p) {
			return true
		}
	}
	for _, g := range t.globs {
		if match(g, typ) {
			return true
		}
	}
	return false
}

// match reports whether s matches glob. It remembers only the last star to go back to, which is
// enough because an earlier star can only have matched less.
func match(glob, s string) bool {
	star, from := -1, 0
	g, i := 0, 0
	for i < len(s) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, from = g, i
			g++
		case g < len(glob) && glob[g] == s[i]:
			g++
			i++
		case star >= 0:
			from++
			g, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
