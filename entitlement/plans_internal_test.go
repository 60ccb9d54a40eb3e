package entitlement

import (
	"slices"
	"testing"
)

func TestReadDefault(t *testing.T) {
	number, g, err := readDefault([]byte(
		`{"number":3,"new":[1],"default":{"features":["view","api","view"],"limits":{"seats":"unlimited","projects":1}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if number != 3 || !slices.Equal(g.Features, []string{"api", "view"}) || g.Source != SourceDefault || g.Until != nil ||
		g.Limits["seats"] != Unlimited || g.Limits["projects"] != 1 || g.Adds == nil || g.Plans == nil {
		t.Errorf("read %d %+v", number, g)
	}
	for _, none := range []string{`{}`, `{"number":1}`, `{"default":null}`} {
		if _, g, err := readDefault([]byte(none)); g != nil || err != nil {
			t.Errorf("readDefault(%s) = %+v, %v; want no default", none, g, err)
		}
	}
	for _, bad := range []string{
		``, `null`, `[]`, `{"default":[]}`, `{"default":{"limits":{"a":-1}}}`, `{"default":{"features":"a"}}`,
		`{"number":-1}`,
	} {
		if _, g, err := readDefault([]byte(bad)); g != nil || err == nil {
			t.Errorf("readDefault(%s) = %+v, %v; want an error", bad, g, err)
		}
	}
}

func FuzzReadDefault(f *testing.F) {
	f.Add([]byte(`{"default":{"features":["view"],"limits":{"projects":1}}}`))
	f.Add([]byte(`{"default":{"limits":{"projects":"unlimited"}}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, document []byte) {
		_, g, err := readDefault(document)
		if g == nil {
			return
		}
		if err != nil || g.Source != SourceDefault || g.Until != nil || !slices.IsSorted(g.Features) ||
			len(g.Plans) > 0 || len(g.Adds) > 0 {
			t.Errorf("readDefault(%q) = %+v, %v", document, g, err)
		}
		for name, limit := range g.Limits {
			if limit < 0 || limit > MaxLimit && limit != Unlimited {
				t.Errorf("readDefault(%q): limit %s is %d", document, name, limit)
			}
		}
	})
}
