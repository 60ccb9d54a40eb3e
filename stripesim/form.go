package stripesim

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// parseForm checks the parameters of a write: each must match one of the patterns, such as
// "line_items[#][price]" (# is a number) and "metadata[*]" (* is a key). An empty value unsets.
func parseForm(values url.Values, patterns []string) (*query, *apiError) {
	q := &query{form: map[string]string{}, many: map[string][]string{}}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, _, _ := strings.Cut(key, "[")
		switch {
		case name == "expand":
			q.many[name] = append(q.many[name], values[key]...)
			continue
		case !slices.ContainsFunc(patterns, func(p string) bool { return fits(key, p) }):
			return nil, badParam("parameter_unknown", key, "Received unknown parameter: %s", key)
		}
		q.form[key] = values[key][len(values[key])-1]
	}
	return q, nil
}

func fits(key, pattern string) bool {
	parts, want := strings.Split(key, "["), strings.Split(pattern, "[")
	if len(parts) != len(want) {
		return false
	}
	for i := range parts {
		number := strings.Trim(parts[i], "0123456789") == "]" && len(parts[i]) > 1
		switch {
		case want[i] == "#]" && number:
		case want[i] == "*]" && strings.HasSuffix(parts[i], "]") && len(parts[i]) > 1:
		case want[i] != parts[i]:
			return false
		}
	}
	return true
}

// Stripe's limits on metadata.
const (
	maxMetadata      = 50
	maxMetadataKey   = 40
	maxMetadataValue = 500
)

// metadata returns the metadata under a name, such as "metadata" or "subscription_data[metadata]".
func (q *query) metadata(name string) (map[string]string, *apiError) {
	found := map[string]string{}
	for key, value := range q.form {
		inner, ok := strings.CutPrefix(key, name+"[")
		if !ok {
			continue
		}
		inner = strings.TrimSuffix(inner, "]")
		switch {
		case len([]rune(inner)) > maxMetadataKey:
			return nil, badParam("", name, "Metadata keys can be up to %d characters long. Invalid key: %s",
				maxMetadataKey, inner)
		case len([]rune(value)) > maxMetadataValue:
			return nil, badParam("", name, "Metadata values can have up to %d characters, but you passed in a value "+
				"that is %d characters. Invalid value: %s", maxMetadataValue, len([]rune(value)), value)
		}
		found[inner] = value
	}
	return found, nil
}

// mergedMetadata merges what a request sends into what there is.
func (q *query) mergedMetadata(name string, old map[string]string) (map[string]string, *apiError) {
	changes, err := q.metadata(name)
	if err != nil {
		return nil, err
	}
	merged := mergeMetadata(old, changes)
	if len(merged) > maxMetadata {
		return nil, badParam("", name, "You can only specify up to %d metadata keys.", maxMetadata)
	}
	return merged, nil
}
