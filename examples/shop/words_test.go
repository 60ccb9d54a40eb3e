package shop

import (
	"encoding/json"
	"strings"
	"testing"
)

// Each state of a subscription is said, with its dates and with what is lost.
func TestWords(t *testing.T) {
	const grants = `"features":["export","view"],"plans":["pro"],"grants":[{"features":["view"]},
		{"features":["export"],"until":1798761600}]`
	for decision, want := range map[string]string{
		`{"status":"none"}`: "Free: Choose a plan for more.",
		`{"status":"active","allowed":true,"plans":["pro"]}`:   "Pro: Renews on 1 January 2027.",
		`{"status":"trialing","allowed":true,"plans":["pro"]}`: "Pro: Renews on 1 January 2027.",
		`{"status":"active","allowed":true,"until":1798761600,` + grants + `}`: "Pro: You have cancelled. Everything works until 1 January 2027. " +
			"Lost: Export",
		`{"status":"active","allowed":true}`: "Free: Renews on 1 January 2027. It is paid, but the plans document in " +
			"force has no plan for it, so it grants nothing here.",
		`{"status":"past_due","allowed":true,"until":1798761600,` + grants + `}`: "Pro: The last payment failed. " +
			"Everything works until 1 January 2027, 00:00 UTC; pay with another card before then. Lost: Export",
		`{"status":"past_due","allowed":true,"plans":["pro"]}`: "Pro: The last payment failed. Everything works for " +
			"now; pay with another card.",
		`{"status":"past_due"}`: "Free: The last payment failed, and the time to pay it is over. Pay with another " +
			"card to go on.",
		`{"status":"incomplete"}`: "Free: The first payment did not go through, so nothing has begun. Try it again " +
			"with another card.",
		`{"status":"paused"}`:                        "Free: Your subscription is paused.",
		`{"status":"canceled"}`:                      "Free: Your subscription has ended.",
		`{"status":"active","plans":["enterprise"]}`: "enterprise: Renews on 1 January 2027.",
	} {
		// Another client decodes it as this one does.
		d := decodeDecision(t, decision)
		a := describe(d, 1798761600)
		got := a.Plan + ": " + strings.Join(a.Says, " ")
		if a.Lost != nil {
			got += " Lost: " + strings.Join(a.Lost, ", ")
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", decision, got, want)
		}
	}
}

func decodeDecision(t *testing.T, text string) (d decision) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMissing(t *testing.T) {
	var all []string
	for _, f := range features {
		all = append(all, f.Key)
	}
	if got := missing(append(all, "limit.seats", "access")); got != "" {
		t.Errorf("a document that has all: %q", got)
	}
	if got := missing(all[:3]); !strings.Contains(got, "has no sso, audit_log.") {
		t.Errorf("a document without sso and audit_log: %q", got)
	}
}
