package wire

import (
	"bytes"
	"encoding/json"
)

// Difference returns Stripe's previous_attributes: the values in before of the fields that differ
// in after. Objects are compared field by field, lists as a whole.
func Difference(before, after any) map[string]any {
	return changed(MustJSON(before), MustJSON(after))
}

func changed(before, after json.RawMessage) map[string]any {
	if bytes.Equal(before, after) {
		return nil
	}
	var was, is map[string]json.RawMessage
	if json.Unmarshal(before, &was) != nil || json.Unmarshal(after, &is) != nil {
		return nil
	}
	out := map[string]any{}
	for k, old := range was {
		now, there := is[k]
		switch {
		case there && bytes.Equal(old, now):
		case there && old[0] == '{' && now[0] == '{':
			out[k] = changed(old, now)
		default:
			out[k] = old
		}
	}
	for k := range is {
		if _, there := was[k]; !there {
			out[k] = nil
		}
	}
	return out
}

// StrOrNull returns nil for the zero value, which is null in JSON.
func StrOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// IntOrNull returns nil for the zero value, which is null in JSON.
func IntOrNull(u int64) *int64 {
	if u == 0 {
		return nil
	}
	return &u
}

// MustJSON encodes the simulator's own types, which cannot fail.
func MustJSON(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("stripesim: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
