package stripeevent

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultTypes is what MARK_TYPES is when it is not set: the event types that can change a snapshot, or that
// people expect to. A customer's events within a second or two become one or a few reads of Stripe, so a type
// that comes with others costs next to nothing; what is left out is what comes alone and changes nothing.
//
// Types that name no customer mark nobody whatever the list says. product.*, price.*, plan.* and coupon.* are of
// that kind: a changed price or product reaches the customers that have it through the syncers' job fanout.
func DefaultTypes() []string {
	return []string{
		// Every change of a subscription: the state itself. A trial that ends and a period that rolls come as updated;
		// deleted is the end of a subscription, not of its record.
		"customer.subscription.*",
		// The customer: metadata is part of the snapshot, deletion ends all access, and one without subscriptions gets
		// a snapshot that says so. Not customer.*: discounts, tax ids and sources change no snapshot.
		"customer.created",
		"customer.updated",
		"customer.deleted",
		// The customer's active entitlements. The event holds the first ten only, another reason not to read it.
		"entitlements.active_entitlement_summary.updated",
		// The end of a checkout, often the first that is heard of a customer; the async ones end it days later for
		// bank debits and the like.
		"checkout.session.completed",
		"checkout.session.async_payment_succeeded",
		"checkout.session.async_payment_failed",
		// Invoices whose outcome moves a subscription's status. customer.subscription.updated says the same, but not
		// always first. Upcoming comes days before a renewal: a cheap look in time. Not created, finalized or sent.
		"invoice.paid",
		"invoice.payment_succeeded",
		"invoice.payment_failed",
		"invoice.payment_action_required",
		"invoice.upcoming",
		"invoice.marked_uncollectible",
		"invoice.voided",
		// The payments behind invoices. They change no status by themselves; during a checkout they coalesce with the
		// rest. Guests' payments name no customer.
		"payment_intent.succeeded",
		"payment_intent.payment_failed",
		"payment_intent.canceled",
		// Planned changes of a subscription.
		"subscription_schedule.*",
		// Thin events of Stripe's v2 objects, if what they relate to is a customer. (Those of v1 objects, v1.customer.updated for
		// one, mark as the types without v1. do.)
		"v2.*",
		// A card that its bank has renewed changes the brand and last four digits in the snapshot, and no other event tells.
		"payment_method.*",
	}
}

// Thin reports whether events of type typ are thin: those of an event destination with thin payloads. They hold
// no object, only the id of one, and name a customer only where that object is one.
func Thin(typ string) bool { return strings.HasPrefix(typ, thinV1) || strings.HasPrefix(typ, "v2.") }

// thinV1 begins the types of thin events about v1 objects; the rest is the type of the same event with its object in it.
const thinV1 = "v1."

// Snapshot is the type of the event that a classic endpoint gets in place of a thin one of type typ; "" if there is none.
func Snapshot(typ string) string {
	if rest, ok := strings.CutPrefix(typ, thinV1); ok {
		return rest
	}
	return ""
}

// Types is a list of event types that mark their customer dirty. The zero value marks none.
type Types struct {
	all      bool
	exact    map[string]struct{}
	prefixes []string
	globs    []string
}

// ParseTypes reads a comma-separated list of globs, the setting MARK_TYPES. A * stands for any run of characters, dots
// included, so that "customer.subscription.*" also takes types that Stripe has yet to invent and "*" takes all.
// Spaces around a glob are ignored. All bad globs are reported at once, each with a hint.
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
		return errors.New(`event type "": empty (hint: remove a stray comma; leave the setting unset for the default list, use * for every type)`)
	}
	for _, c := range glob {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '.', c == '*':
		case 'A' <= c && c <= 'Z':
			return fmt.Errorf("event type %q: %q is upper case (hint: Stripe's types are lower case: %q)", glob, c, strings.ToLower(glob))
		case c == '>' || c == '?' || c == '[' || c == '{':
			return fmt.Errorf("event type %q: %q is no wildcard here (hint: only * is, and it matches dots too)", glob, c)
		default:
			return fmt.Errorf("event type %q: %q is in no event type (hint: separate types with commas, as in customer.subscription.*,invoice.paid)", glob, c)
		}
	}
	if strings.HasPrefix(glob, ".") || strings.HasSuffix(glob, ".") || strings.Contains(glob, "..") {
		return fmt.Errorf("event type %q: an empty part before, between or after dots (hint: as in customer.subscription.*)", glob)
	}
	return nil
}

// Marks reports whether events of type typ mark their customer. A thin one of type v1.… marks if the type behind v1. does. It does
// not allocate.
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

// match reports whether s matches glob. It keeps one place to go back to, the last star, which is enough
// because an earlier star can only have taken less.
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
