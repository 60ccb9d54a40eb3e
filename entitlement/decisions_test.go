package entitlement_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
)

// A decisionFile is a file of testdata/decisions; its README says what the fields mean.
type decisionFile struct {
	About string         `json:"about"`
	Cases []decisionCase `json:"cases"`
}

type decisionCase struct {
	Name      string             `json:"name"`
	Snapshots []json.RawMessage  `json:"snapshots"`
	Default   *entitlement.Grant `json:"default"`
	Now       float64            `json:"now"`
	Questions []struct {
		Ask    []string        `json:"ask"`
		Answer json.RawMessage `json:"answer"`
	} `json:"questions"`
}

func decisionCases(t *testing.T) map[string]decisionCase {
	t.Helper()
	files, err := filepath.Glob("../testdata/decisions/*.json")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]decisionCase{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file decisionFile
		strict(t, data, &file)
		for _, c := range file.Cases {
			all[filepath.Base(name)+"/"+c.Name] = c
		}
	}
	if len(all) < 60 {
		t.Fatalf("%d cases", len(all))
	}
	return all
}

// strict decodes JSON and refuses fields that are not known, which a misspelt case would have.
func strict(t *testing.T, data []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
}

// customers are those of a case.
func (c decisionCase) customers(t *testing.T) entitlement.Customers {
	t.Helper()
	out := entitlement.Customers{Default: c.Default}
	if c.Default != nil {
		c.Default.Source = entitlement.SourceDefault
		slices.Sort(c.Default.Features)
	}
	for _, raw := range c.Snapshots {
		s, err := entitlement.Decode(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		out.Snapshots = append(out.Snapshots, &s)
	}
	return out
}

func (c decisionCase) now() time.Time {
	seconds, fraction := math.Modf(c.Now)
	return time.Unix(int64(seconds), int64(fraction*1e9))
}

// TestDecisions: the readers answer as testdata/decisions says, in any order of the snapshots.
func TestDecisions(t *testing.T) {
	t.Parallel()
	for name, c := range decisionCases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			customers := c.customers(t)
			c.check(t, customers)
			slices.Reverse(customers.Snapshots)
			c.check(t, customers)
			customers.Snapshots = append(customers.Snapshots, nil, &entitlement.Snapshot{}) // unknown customers
			c.check(t, customers)
			if len(c.Snapshots) == 1 {
				c.check(t, customers.Snapshots[0])
			}
		})
	}
}

// A reader is Customers or a single Snapshot.
type reader interface {
	Has(feature string, now time.Time) bool
	Allowed(now time.Time) bool
	Limit(name string, now time.Time) (entitlement.Limit, bool)
	Decide(feature string, now time.Time) entitlement.Answer
}

func (c decisionCase) check(t *testing.T, by reader) {
	t.Helper()
	now := c.now()
	if len(c.Questions) == 0 {
		t.Error("no question")
	}
	for _, q := range c.Questions {
		switch {
		case len(q.Ask) == 1 && q.Ask[0] == "allowed":
			var want bool
			strict(t, q.Answer, &want)
			if got := by.Allowed(now); got != want {
				t.Errorf("%T: allowed %t, want %t", by, got, want)
			}
		case len(q.Ask) == 2 && q.Ask[0] == "feature":
			var want entitlement.Answer
			strict(t, q.Answer, &want)
			if d := cmp.Diff(want, by.Decide(q.Ask[1], now)); d != "" {
				t.Errorf("%T: feature %s (-want +got):\n%s", by, q.Ask[1], d)
			}
			if got := by.Has(q.Ask[1], now); got != want.Allowed {
				t.Errorf("%T: has %s: %t, want %t", by, q.Ask[1], got, want.Allowed)
			}
		case len(q.Ask) == 2 && q.Ask[0] == "limit":
			var want, got struct {
				Value entitlement.Limit `json:"value"`
				Known bool              `json:"known"`
			}
			strict(t, q.Answer, &want)
			if got.Value, got.Known = by.Limit(q.Ask[1], now); got != want {
				t.Errorf("%T: limit %s: %v, want %v", by, q.Ask[1], got, want)
			}
		default:
			t.Errorf("no question: %q", q.Ask)
		}
	}
}

// grown is a customer with everything that a reader may meet.
func grown() *entitlement.Snapshot {
	s := snapshot("cus_1")
	end := int64(math.MaxInt32)
	for i := range 5 {
		s.Grants = append(s.Grants, entitlement.Grant{
			Source: fmt.Sprint("sub_", i), Plans: []string{"pro"}, Features: []string{"api", "export", "sso"},
			Until: &end, Adds: map[string]entitlement.Limit{"seats": 2},
			Limits: map[string]entitlement.Limit{"seats": 3, "projects": entitlement.Unlimited},
		})
	}
	s.Grants = append(s.Grants, entitlement.Grant{Source: entitlement.SourceDefault, Features: []string{"view"}})
	return &s
}

// readers yields what the readers are asked in tests of what they cost.
func readers() map[string]func() {
	s, earlier, now := grown(), snapshot("cus_2", "api", "sso"), time.Now()
	both := entitlement.Customers{Snapshots: []*entitlement.Snapshot{s, &earlier}, Default: &s.Grants[5]}
	return map[string]func(){
		"Snapshot.Has":              func() { s.Has("export", now) },
		"Snapshot.Has, no feature":  func() { s.Has("nothing", now) },
		"Snapshot.Has, earlier":     func() { earlier.Has("sso", now) },
		"Snapshot.Allowed":          func() { s.Allowed(now) },
		"Snapshot.Allowed, earlier": func() { earlier.Allowed(now) },
		"Snapshot.Limit":            func() { s.Limit("seats", now) },
		"Snapshot.Decide":           func() { s.Decide("export", now) },
		"Snapshot.Decide, default":  func() { s.Decide("view", now) },
		"Snapshot.Decide, earlier":  func() { earlier.Decide("sso", now) },
		"Customers.Has":             func() { both.Has("export", now) },
		"Customers.Allowed":         func() { both.Allowed(now) },
		"Customers.Limit":           func() { both.Limit("seats", now) },
		"Customers.Decide":          func() { both.Decide("sso", now) },
	}
}

// No reader allocates.
func TestReadersAllocateNothing(t *testing.T) {
	for name, ask := range readers() {
		if n := testing.AllocsPerRun(100, ask); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkReaders(b *testing.B) {
	for name, ask := range readers() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask()
			}
		})
	}
}
