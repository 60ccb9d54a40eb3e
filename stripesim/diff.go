package stripesim

import (
	"bytes"
	"encoding/json"
)

// difference returns Stripe's previous_attributes: the values in before of the fields that differ
// in after. Objects are compared field by field, lists as a whole.
func difference(before, after any) map[string]any {
	return changed(mustJSON(before), mustJSON(after))
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
