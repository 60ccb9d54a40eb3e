package stripeevent

import (
	"path"
	"strings"
	"testing"
)

func TestDefaultTypes(t *testing.T) {
	t.Parallel()
	types, err := ParseTypes(strings.Join(DefaultTypes(), ","))
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []string{
		// The 18 that t3dotgg/stripe-recommendations tracks.
		"checkout.session.completed", "customer.subscription.created", "customer.subscription.updated",
		"customer.subscription.deleted", "customer.subscription.paused", "customer.subscription.resumed",
		"customer.subscription.pending_update_applied", "customer.subscription.pending_update_expired",
		"customer.subscription.trial_will_end", "invoice.paid", "invoice.payment_failed",
		"invoice.payment_action_required", "invoice.upcoming", "invoice.marked_uncollectible",
		"invoice.payment_succeeded", "payment_intent.succeeded", "payment_intent.payment_failed",
		"payment_intent.canceled",
		// And ours.
		"customer.created", "customer.updated", "customer.deleted", "customer.subscription.collection_paused",
		"entitlements.active_entitlement_summary.updated", "checkout.session.async_payment_succeeded",
		"subscription_schedule.released", "payment_method.automatically_updated", "payment_method.detached",
		"invoice.voided",
		// Thin ones.
		"v1.customer.updated", "v1.customer.subscription.updated", "v2.core.event_destination.ping",
	} {
		if !types.Marks(typ) {
			t.Errorf("%s does not mark", typ)
		}
	}
	for _, typ := range []string{
		"", "customer", "customer.subscription", "customer.discount.created", "price.updated", "product.updated",
		"invoice.created", "invoice.paid2", "charge.succeeded", "checkout.session.expired", "v1.charge.succeeded",
		"v1.v1.customer.updated", "v3.customer.updated",
	} {
		if types.Marks(typ) {
			t.Errorf("%s marks", typ)
		}
	}
}

// Not parallel: testing.AllocsPerRun counts the allocations of the whole process.
func TestMarksAllocations(t *testing.T) {
	types, err := ParseTypes(strings.Join(DefaultTypes(), ",") + ",*.x.*.y")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100,
		func() { types.Marks("payment_method.detached"); types.Marks("nothing.known") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		list, typ string
		want      bool
	}{
		{"*", "", true}, {"*", "a.b", true}, {"a.*", "a.", true}, {"a.*", "a.b.c", true}, {"a.*", "b.a.c", false},
		{"*.deleted", "customer.subscription.deleted", true}, {"*.deleted", "customer.deleted.x", false},
		{"a.*.c,x", "a.b.b.c", true}, {"a.*.c,x", "a.c", false}, {"a.*.c, x ", "x", true}, {"a**b*", "axxbyy", true},
		{"a**b*", "axxcyy", false},
		{"*a*b", "aab", true}, {"*ab*ab", "abab", true}, {"*ab*ab", "aab", false},
		{"a.b", "v1.a.b", true}, {"a.b", "v2.a.b", false}, {"a.*", "v1.a.b", true}, {"v1.a.*", "v1.a.b", true},
		{"v1.a.*", "a.b", false},
	} {
		types, err := ParseTypes(tc.list)
		if err != nil {
			t.Fatal(err)
		}
		if got := types.Marks(tc.typ); got != tc.want {
			t.Errorf("%q marks %q: %v", tc.list, tc.typ, got)
		}
	}
	var none Types
	if none.Marks("a") {
		t.Error("the zero value marks")
	}
}

func TestParseTypesRefuses(t *testing.T) {
	t.Parallel()
	for list, hint := range map[string]string{
		"":                       "stray comma",
		"a.b,,c":                 "stray comma",
		"Invoice.paid":           `"invoice.paid"`,
		"invoice.>":              "use *",
		"invoice.pai?":           "use *",
		"invoice.paid a.b":       "commas",
		"invoice.":               "part",
		"a..b":                   "part",
		strings.Repeat("a", 256): "none is longer than 255",
		"ok.*,Bad,invoice.>?":    "lower case: \"bad\")\nevent type \"invoice.>?\"", // both at once
	} {
		_, err := ParseTypes(list)
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: got %v, want a hint of %q", list, err, hint)
		}
	}
}

// FuzzMatch compares with path.Match, in which * stops at a slash only.
func FuzzMatch(f *testing.F) {
	f.Add("a.*.c*", "a.b.c.d")
	f.Add("*ab*ab", "aabab")
	f.Fuzz(func(t *testing.T, glob, s string) {
		if strings.ContainsAny(glob, `?[\/`) || strings.Contains(s, "/") || checkGlob(glob) != nil {
			t.Skip()
		}
		want, err := path.Match(glob, s)
		types, perr := ParseTypes(glob)
		if err != nil || perr != nil {
			t.Fatal(err, perr)
		}
		if got := match(glob, s); got != want || types.marks(s) != want {
			t.Errorf("%q on %q: match %v, marks %v, want %v", glob, s, got, types.marks(s), want)
		}
	})
}
