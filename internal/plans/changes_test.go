package plans

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChanges(t *testing.T) {
	t.Parallel()
	parse := func(text string) *Document {
		d, _, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := parse("number: 1\nconnect: true\nplans: {a: {features: [x]}, b: {}, c: {features: [y]}}")
	for text, want := range map[string]string{
		"number: 2\nconnect: true\nplans: {a: {features: [x]}, b: {}, c: {features: [y]}}": "nothing",
		"plans: {a: {features: [z]}, c: {features: [y]}, d: {}}\ndefault: {features: [x]}": "connect, plans ~a -b +d, default",
		"{}": "connect, plans -a -b -c",
	} {
		if got := parse(text).Changes(first); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if got := first.Changes(nil); got != "connect, plans +a +b +c" {
		t.Errorf("the first one: %s", got)
	}
}

// A document that YAML prints decodes to the same document.
func TestYAML(t *testing.T) {
	t.Parallel()
	for _, c := range decideCases(t) {
		if c.plans == "" {
			continue
		}
		d, _, err := Parse([]byte(c.plans))
		if err != nil {
			t.Fatal(err)
		}
		text, err := d.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, text)
		}
		if diff := cmp.Diff(string(d.Encode()), string(again.Encode())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
