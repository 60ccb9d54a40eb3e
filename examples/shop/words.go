package shop

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A plan is a product of the shop, in words for the pricing page. The plans document says which features it grants.
type plan struct {
	ID, Name, Price, For string
	LookupKey            string // of the price in Stripe
	Seats                bool   // is sold by the seat
	Has                  []string
}

var plans = []plan{
	{ID: "free", Name: "Free", Price: "$0", For: "a look around", Has: []string{"1 project", "Look at projects"}},
	{ID: "pro", Name: "Pro", Price: "$29", For: "people who ship", LookupKey: "pro_monthly",
		Has: []string{"50 projects", "Export", "API access"}},
	{ID: "team", Name: "Team", Price: "$99", For: "teams", LookupKey: "team_monthly", Seats: true,
		Has: []string{"Unlimited projects", "Export", "API access", "Single sign-on", "Audit log"}},
}

// A feature is a part of the app that a plan switches on.
type feature struct{ Key, Name, About string }

var features = []feature{
	{"view", "Projects", "See what everybody works on."},
	{"export", "Export", "Take your projects with you, as CSV."},
	{"api_access", "API access", "Automate everything."},
	{"sso", "Single sign-on", "One login for the whole company."},
	{"audit_log", "Audit log", "See each change and its author."},
}

func featureName(key string) string {
	if i := slices.IndexFunc(features, func(f feature) bool { return f.Key == key }); i >= 0 {
		return features[i].Name
	}
	return key
}

// planOf returns a plan by its id; one of another document has no words here.
func planOf(id string) plan {
	if i := slices.IndexFunc(plans, func(p plan) bool { return p.ID == id }); i >= 0 {
		return plans[i]
	}
	return plan{ID: id, Name: id}
}

// An account is the subscription of a user, in sentences.
type account struct {
	Plan       string
	Says       []string
	Trouble    bool // a payment is missing
	Subscribed bool // there is something to manage
	Resume     bool // the first payment is missing
	Lost       []string
}

// describe puts the state of a user's subscription into sentences. Its paid period ends at periodEnd.
func describe(d decision, periodEnd int64) account {
	a := account{Plan: "Free"}
	if len(d.Plans) > 0 {
		a.Plan = planOf(d.Plans[0]).Name
	}
	say := func(format string, args ...any) { a.Says = append(a.Says, fmt.Sprintf(format, args...)) }
	switch d.Status {
	case "active", "trialing":
		a.Subscribed = true
		if d.Until != nil {
			say("You have cancelled. Everything works until %s.", date(*d.Until))
			a.Lost = lost(d)
		} else if periodEnd != 0 {
			say("Renews on %s.", date(periodEnd))
		}
		if len(d.Plans) == 0 {
			say("It is paid, but the plans document in force has no plan for it, so it grants nothing here.")
		}
	case "past_due", "unpaid":
		a.Subscribed, a.Trouble = true, true
		if d.Allowed && d.Until != nil {
			say("The last payment failed. Everything works until %s; pay with another card before then.", moment(*d.Until))
			a.Lost = lost(d)
		} else if d.Allowed {
			say("The last payment failed. Everything works for now; pay with another card.")
		} else {
			say("The last payment failed, and the time to pay it is over. Pay with another card to go on.")
		}
	case "incomplete":
		a.Trouble, a.Resume = true, true
		say("The first payment did not go through, so nothing has begun. Try it again with another card.")
	case "paused":
		a.Subscribed = true
		say("Your subscription is paused.")
	case "canceled", "incomplete_expired":
		say("Your subscription has ended.")
	default:
		say("Choose a plan for more.")
	}
	return a
}

// lost returns the features that end with the access: no grant that lasts longer has them.
func lost(d decision) (names []string) {
	for _, f := range d.Features {
		stays := false
		for _, g := range d.Grants {
			stays = stays || slices.Contains(g.Features, f) && (g.Until == nil || *g.Until > *d.Until)
		}
		if !stays {
			names = append(names, featureName(f))
		}
	}
	return names
}

// missing says which of the shop's features the plans document does not have; "" if it has all.
func missing(catalogue []string) string {
	var names []string
	for _, f := range features {
		if !slices.Contains(catalogue, f.Key) {
			names = append(names, f.Key)
		}
	}
	if names == nil {
		return ""
	}
	return "The plans document in force is not this shop's: it has no " + strings.Join(names, ", ") +
		". Apply one that has, as examples/README.md says."
}

func date(unix int64) string   { return time.Unix(unix, 0).UTC().Format("2 January 2006") }
func moment(unix int64) string { return time.Unix(unix, 0).UTC().Format("2 January 2006, 15:04 UTC") }
