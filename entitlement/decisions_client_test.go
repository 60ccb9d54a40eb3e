package entitlement_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// TestDecisionsThroughNATS: a client whose customers and default came through NATS answers as
// testdata/decisions says, by id and by key, whether it keeps whole snapshots or only what decides.
func TestDecisionsThroughNATS(t *testing.T) {
	t.Parallel()
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		testDecisionsThroughNATS(t, nil)
	})
	t.Run("decisions only", func(t *testing.T) {
		t.Parallel()
		testDecisionsThroughNATS(t, &entitlement.Options{DecisionsOnly: true})
	})
}

func testDecisionsThroughNATS(t *testing.T, opts *entitlement.Options) {
	s := natstest.Run(t)
	js := s.JetStream(t)
	kv, docs := createBucket(t, js), createPlans(t, js)
	c := open(t, s.Conn(t), opts)
	number := 0
	for name, test := range decisionCases(t) {
		t.Run(name, func(t *testing.T) {
			number++
			id := fmt.Sprint("case ", number)
			putRaw(t, docs, "live", test.document(t, number))
			natstest.Eventually(t, patience, func() error {
				if st := c.Status(); st.PlansRevision != uint64(number) {
					return fmt.Errorf("status %+v", st)
				}
				return nil
			})
			refs := []string{"id:" + id, id}
			for _, raw := range test.Snapshots {
				key, value := carried(t, raw, id)
				revision := putRaw(t, kv, key, value)
				natstest.Eventually(t, patience, func() error {
					for e := range c.All() {
						// Its id is found a moment after its key.
						if e.Key == key && e.Revision >= revision && (strings.HasPrefix(key, "acct_") ||
							slices.Contains(c.Customers("id:"+id).Keys(), key)) {
							return nil
						}
					}
					return fmt.Errorf("%s is not in the view at revision %d: status %+v", key, revision, c.Status())
				})
				if strings.HasPrefix(key, "acct_") {
					refs = nil // ids are those of your own account's customers
				}
				if len(test.Snapshots) == 1 {
					refs = append(refs, key, "key:"+key)
				}
			}
			for _, ref := range refs {
				all := c.Customers(ref)
				if got := len(all.Keys()); got != len(test.Snapshots) {
					t.Errorf("%s stands for %q", ref, all.Keys())
				}
				test.check(t, all)
				test.checkPresent(t, c, ref)
			}
		})
	}
}

// document is a plans document with the case's default.
func (c decisionCase) document(t *testing.T, number int) string {
	t.Helper()
	document, err := json.Marshal(map[string]any{"number": number, "default": c.Default})
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

// carried returns a snapshot of a case with its key, of mode live and with an id.
func carried(t *testing.T, raw json.RawMessage, id string) (key, value string) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	fields["id"], fields["livemode"] = id, true
	account, _ := fields["account"].(string)
	customer, _ := fields["customer"].(string)
	entry, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return entitlement.Key(account, customer), string(entry)
}

// checkPresent checks that the client's own readers, which answer for the present, agree with those
// of Customers.
func (c decisionCase) checkPresent(t *testing.T, client *entitlement.Client, ref string) {
	t.Helper()
	all, now := client.Customers(ref), time.Now()
	if got, want := client.Allowed(ref), all.Allowed(now); got != want {
		t.Errorf("%s: allowed %t, want %t", ref, got, want)
	}
	for _, q := range c.Questions {
		name := q.Ask[len(q.Ask)-1]
		if got, want := client.Has(ref, name), all.Has(name, now); got != want {
			t.Errorf("%s: has %s %t, want %t", ref, name, got, want)
		}
		if d := cmp.Diff(all.Decide(name, now), client.Decide(ref, name)); d != "" {
			t.Errorf("%s: feature %s (-want +got):\n%s", ref, name, d)
		}
		want, wantKnown := all.Limit(name, now)
		if got, known := client.Limit(ref, name); got != want || known != wantKnown {
			t.Errorf("%s: limit %s %v %t, want %v %t", ref, name, got, known, want, wantKnown)
		}
	}
}
