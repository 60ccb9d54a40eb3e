package plans

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entitled/internal/yamltree"
)

// mistakesOf are the mistakes of a text, nil if it is a document.
func mistakesOf(t *testing.T, text string) []string {
	t.Helper()
	d, _, err := Parse([]byte(text))
	if err == nil {
		return nil
	}
	var invalid *InvalidError
	if !errors.As(err, &invalid) || d != nil {
		t.Fatalf("%v with a document %v", err, d)
	}
	lines := make([]string, len(invalid.Mistakes))
	for i, m := range invalid.Mistakes {
		lines[i] = m.String()
	}
	return lines
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// All mistakes of a document are found at once, each in its place.
func TestMistakes(t *testing.T) {
	t.Parallel()
	want := strings.Split(strings.TrimSpace(readFile(t, "testdata/mistakes.txt")), "\n")
	if d := cmp.Diff(want, mistakesOf(t, readFile(t, "testdata/mistakes.yaml"))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestMistakesOfTheText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"", "1:1: the document is empty, write {} if no plans are meant"},
		{"# {}\n", "1:1: the document is empty, write {} if no plans are meant"},
		{"[a]", "1:1: the document must be a map, and is a list, write it as key: value"},
		{"plans", "1:1: the document must be a map, and is text, write it as key: value"},
		{"plans: {}\nids: {a\rb: c}", "2:8: a control character cannot be in a plans document"},
		{"\xff", "1:1: the document is not UTF-8"},
		{"connect: [\n", "1:10: this is not YAML: sequence end token ']' not found"},
		{"plans:\n  a: {}\n b: {}\n", "3:2: this is not YAML: value is not allowed in this context"},
		{"plans: {}\n---\nplans: {}\n", "3:6: a second document begins, a file holds one"},
		{
			"ids: &x {metadata: id}",
			"1:6: an anchor (&) cannot be in a plans document, text that begins with this character must be in quotes",
		},
		{
			"ids: *x",
			"1:6: an alias (*) cannot be in a plans document, text that begins with this character must be in quotes",
		},
		{"plans: {a: {<<: {}}}", "1:13: a merge key (<<) cannot be in a plans document"},
		{
			"ids: !!map {metadata: id}",
			"1:6: a tag (!) cannot be in a plans document, text that begins with this character must be in quotes",
		},
		{
			"%YAML 1.1\n---\n{}",
			"1:1: a directive (%) cannot be in a plans document, text that begins with this character must be in quotes",
		},
		{"? connect\n: true", "1:1: a key with a question mark (?) cannot be in a plans document"},
		{"connect: true\nconnect: true", `2:1: "connect" is there twice in the document, keep one of the two`},
		{
			`{"connect": true, "connect": true}`,
			`1:19: "connect" is there twice in the document, keep one of the two`,
		},
		{
			"ids: {metadata: entitled_id}",
			`1:17: "entitled_id" cannot hold your own id, keys that begin with entitled_ are words`,
		},
		{
			"ids: {metadata: 'a[b]'}",
			`1:17: "a[b]" cannot be a key in Stripe's metadata, it has 1 to 40 characters, and no [ or ]`,
		},
		{"features:", `1:1: "features" has no value, give it a value or leave it out`},
		{"features: view", "1:11: features must be a list, and is text, write it as [a, b]"},
	} {
		if got := strings.Join(mistakesOf(t, tt.text), "\n"); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

// A text that stands for something huge, or that takes long to parse, is refused before it is
// parsed.
func TestBounds(t *testing.T) {
	t.Parallel()
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, tt := range map[string]struct{ text, want string }{
		"bytes":       {"# " + strings.Repeat("x", yamltree.MaxBytes), "has 131074 bytes"},
		"empty lines": {"a: |\n" + strings.Repeat(" \n", 101), "102:1: more than 100 empty lines"},
		"merges":      {"a: " + strings.Repeat("<<", 10000), "1:4: <<<< cannot be"},
		"words":       {many(yamltree.MaxTokens/3, "a%d: 1\n"), ""},
		"more words":  {many(yamltree.MaxTokens/3+1, "a%d: 1\n"), "words and signs"},
		"lists":       {strings.Repeat("[", 5000), "nested too deep"},
		"maps":        {strings.Repeat("{a: ", 5000), "nested too deep"},
		"entries":     {strings.Repeat("- ", 15000), "nested too deep"},
		"values":      {strings.Repeat("a: ", 10000), "nested too deep"},
		"indented": {func() (s string) {
			for i := range 400 {
				s += strings.Repeat(" ", i) + "a:\n"
			}
			return
		}(), "nested too deep"},
		"plans":    {"plans: {" + many(maxPlans+1, "p%d: {},") + "}", "there are 501 plans, and there may be 500"},
		"features": {"features: [" + many(maxFeatures+1, "f%d,") + "]", "there are 1001 features"},
		"limits":   {"limits: [" + many(maxLimits+1, "l%d,") + "]", "there are 201 limits"},
		"alternatives": {"plans: {a: {match: [" + many(maxPatterns+1, "{price: p%d},") + "]}}",
			"there are 101 alternatives"},
		"patterns": {"plans: {a: {match: {price: [" + many(maxPatterns+1, "p%d,") + "]}}}",
			"there are 101 patterns"},
		"pattern":       {"plans: {a: {match: {price: " + strings.Repeat("p", maxPattern+1) + "}}}", "1 to 200 bytes"},
		"plan features": {"plans: {a: {features: [" + many(maxFeatures+1, "f%d,") + "]}}", "there are 1001 features"},
		"plan limits": {"plans: {a: {limits: {" + many(maxLimits+1, "l%d: 1,") + "}}}",
			"there are 201 limits of plan a"},
	} {
		got := strings.Join(mistakesOf(t, tt.text), "\n")
		if !strings.Contains(got, tt.want) || name == "words" && strings.Contains(got, "words and signs") {
			t.Errorf("%s: %.300s", name, got)
		}
	}
	most := "plans: {" + many(maxPlans, "p%d: {match: {price: x}, limits: {seats: {per_unit: 1}}},") + "}"
	if got := mistakesOf(t, most); got != nil {
		t.Errorf("as many plans as there may be: %s", got)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{
			"plans: {a: {match: {lookup_key: pro}}}",
			"1:20: plan a is matched by lookup_key alone: transfer_lookup_key takes the plan from every subscriber of the old price, match its product too",
		},
		{
			"plans: {a: {match: [{lookup_key: pro}, {lookup_key: x}]}}",
			"1:20: plan a is matched by lookup_key alone: transfer_lookup_key takes the plan from every subscriber of the old price, match its product too",
		},
		{"plans: {a: {match: [{lookup_key: pro}, {product: x}]}}", ""},
		{"plans: {a: {match: {lookup_key: pro, product: x}}}", ""},
		{"plans: {a: {}}", ""},
		{
			"metadata: []\nplans: {a: {}}",
			"2:9: plan a has no match, and metadata is empty: no subscription has it, give it a match",
		},
		{"metadata: [customer]\nplans: {a: {}}", ""},
		{"access: {active: deny}", "1:18: active is deny: subscriptions of this status grant nothing"},
		{"access: {paused: deny}", ""},
		{"unmatched: deny", "1:12: unmatched is deny and there are no plans: no subscription grants anything"},
		{"number: 3", "1:9: number is ignored when the document is applied, apply counts the documents"},
		{
			"plans: {a: {match: {lookup_key: pro}}}\naccess: {active: deny}\nnumber: 1",
			"1:20: plan a is matched by lookup_key alone: transfer_lookup_key takes the plan from every subscriber of the old price, match its product too\n2:18: active is deny: subscriptions of this status grant nothing\n3:9: number is ignored when the document is applied, apply counts the documents",
		},
	} {
		_, warnings, err := Parse([]byte(tt.text))
		var lines []string
		for _, w := range warnings {
			lines = append(lines, w.String())
		}
		if got := strings.Join(lines, "\n"); err != nil || got != tt.want {
			t.Errorf("%q: %v\n got %s\nwant %s", tt.text, err, got, tt.want)
		}
	}
}

// canonical are documents and their canonical form.
var canonical = []struct{ text, want string }{
	{"{}", "{}"},
	{
		"access: {active: grant, past_due: 72h, paused: deny}\nmetadata: [price]\nconnect: false\nunmatched: grant\ndefault: {}\nplans: {}",
		"{}",
	},
	{"metadata: []", `{"metadata":[]}`},
	{"features: []", `{"features":[]}`},
	{"metadata: [subscription, customer]", `{"metadata":["customer","subscription"]}`},
	{"stripe_entitlements: false", `{"stripe_entitlements":false}`},
	{"stripe_entitlements: true", `{"stripe_entitlements":true}`},
	{
		"connect: true\nids: {metadata: uid}\nunmatched: deny",
		`{"ids":{"metadata":"uid"},"connect":true,"unmatched":"deny"}`,
	},
	{
		"access: {past_due: 90m, unpaid: 1d12h, paused: grant, active: deny}",
		`{"access":{"active":"deny","past_due":"90m","paused":"grant","unpaid":"36h"}}`,
	},
	{"access: {past_due: 3d, unpaid: 61s}", `{"access":{"unpaid":"61s"}}`},
	{
		"plans: {a: {access: {past_due: 72h, trialing: grant}}}",
		`{"plans":{"a":{"access":{"past_due":"3d","trialing":"grant"}}}}`,
	},
	{
		"plans:\n  b: {features: [y, x]}\n  a: {match: {price: x}, features: [], limits: {}}",
		`{"plans":{"a":{"match":[{"price":["x"]}]},"b":{"features":["x","y"]}}}`,
	},
	{
		"plans: {a: {match: [{product: [c, b, b]}, {price: x}, {product: [b, c]}]}}",
		`{"plans":{"a":{"match":[{"price":["x"]},{"product":["b","c"]}]}}}`,
	},
	{
		"plans: {a: {limits: {x: 5, y: {base: 5}, z: {per_unit: 0}, u: unlimited, v: {per_unit: 2}, w: {base: 1, per_unit: 2}}, adds: {x: 9007199254740991}}}",
		`{"plans":{"a":{"limits":{"u":"unlimited","v":{"per_unit":2},"w":{"base":1,"per_unit":2},"x":5,"y":5,"z":0},"adds":{"x":9007199254740991}}}}`,
	},
	{
		"default: {features: [b, a], limits: {x: unlimited, y: 1, z: {base: 2}}}",
		`{"default":{"features":["a","b"],"limits":{"x":"unlimited","y":1,"z":2}}}`,
	},
	{
		`{"number": 12, "plans": {"a": {"match": {"lookup_key": "<&>"}}}}`,
		`{"number":12,"plans":{"a":{"match":[{"lookup_key":["<&>"]}]}}}`,
	},
	{"\ufeffconnect: true\r\n", `{"connect":true}`},
	{"plans:\n  007: {}\n  true: {}", `{"plans":{"007":{},"true":{}}}`},
}

// Documents that say the same have the same canonical form, which is a document with the same form.
func TestEncode(t *testing.T) {
	t.Parallel()
	for _, tt := range canonical {
		d, _, err := Parse([]byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if got := string(d.Encode()); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.text, got, tt.want)
		}
		again, _, err := Parse(d.Encode())
		if err != nil || cmp.Diff(d, again) != "" {
			t.Errorf("%s: parsed again: %v\n%s", tt.text, err, cmp.Diff(d, again))
		}
	}
}

// The example parses without a warning, and shows every key of a document.
func TestExample(t *testing.T) {
	t.Parallel()
	text := readFile(t, "../../examples/plans.yaml")
	d, warnings, err := Parse([]byte(text))
	if err != nil || len(warnings) > 0 || len(d.Plans) != 5 {
		t.Fatalf("%v %v", err, warnings)
	}
	for _, key := range append(append(append([]string{}, documentKeys...), planKeys...), statuses...) {
		if key != "number" && !strings.Contains(text, key+":") {
			t.Errorf("the example lacks %s", key)
		}
	}
}

func TestSimilar(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, want string }{
		{"exprot", "export"}, {"Export", "export"}, {"exports", "export"}, {"expo", "export2"}, {"sso", ""},
		{"", ""}, {"api", "ap"}, {strings.Repeat("x", 200), ""},
	} {
		got := similar(tt.name, []string{"export", "api_access", "ap", "x"})
		if tt.name == "expo" {
			continue
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a", "ba", false}, {"*", "x", true}, {"*", "", true},
		{"a*", "a", true}, {"*a", "ba", true}, {"*a", "ab", false},
		{"a*b*c", "axxbxxc", true}, {"a*b*c", "axxcxxb", false}, {"*ab", "aab", true}, {"**", "x", true},
		{"a**b", "ab", true}, {"", "", true}, {"", "x", false},
		{"é*", "éa", true}, {strings.Repeat("*a", 100) + "b", strings.Repeat("a", 200), false},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q %q: %t", tt.pattern, tt.s, got)
		}
	}
}
