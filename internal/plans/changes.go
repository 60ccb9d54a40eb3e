package plans

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// YAML returns the document as people write it. [Parse] reads it.
func (d *Document) YAML() ([]byte, error) { return yaml.JSONToYAML(d.Encode()) }

// Changes names the parts of a document that differ from a former one, nil for none: "plans +pro
// -basic ~team, default". It is "nothing" for two that say the same.
func (d *Document) Changes(former *Document) string {
	if former == nil {
		former = &Document{}
	}
	before, after := former.parts(), d.parts()
	var list []string
	for _, key := range documentKeys {
		switch {
		case key == "number" || bytes.Equal(before[key], after[key]):
		case key == "plans":
			list = append(list, "plans "+changedPlans(former.Plans, d.Plans))
		default:
			list = append(list, key)
		}
	}
	if list == nil {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// parts returns the canonical JSON of each key.
func (d *Document) parts() map[string]json.RawMessage {
	parts := map[string]json.RawMessage{}
	if err := json.Unmarshal(d.Encode(), &parts); err != nil {
		panic("decode a document that was just encoded: " + err.Error())
	}
	return parts
}

func changedPlans(before, after map[string]Plan) string {
	names := maps.Clone(before)
	if names == nil {
		names = map[string]Plan{}
	}
	maps.Copy(names, after)
	var marks []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := before[name]
		is, has := after[name]
		a, _ := json.Marshal(was) // as Encode: nothing in it can fail
		b, _ := json.Marshal(is)
		switch {
		case !had:
			marks = append(marks, "+"+name)
		case !has:
			marks = append(marks, "-"+name)
		case !bytes.Equal(a, b):
			marks = append(marks, "~"+name)
		}
	}
	return strings.Join(marks, " ")
}
