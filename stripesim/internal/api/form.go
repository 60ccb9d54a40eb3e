package api

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// ParseForm checks the parameters of a write: each must match one of the patterns, such as
// "line_items[#][price]" (# is a number) and "metadata[*]" (* is a key). An empty value unsets.
func ParseForm(values url.Values, patterns []string) (*Query, *Error) {
	q := &Query{Form: map[string]string{}, Many: map[string][]string{}}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, _, _ := strings.Cut(key, "[")
		switch {
		case name == "expand":
			q.Many[name] = append(q.Many[name], values[key]...)
			continue
		case !slices.ContainsFunc(patterns, func(p string) bool { return fits(key, p) }):
			return nil, BadParam("parameter_unknown", key, "Received unknown parameter: %s", key)
		}
		q.Form[key] = values[key][len(values[key])-1]
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

// Metadata returns the metadata under a name, such as "metadata" or "subscription_data[metadata]".
func (q *Query) Metadata(name string) (map[string]string, *Error) {
	found := map[string]string{}
	for key, value := range q.Form {
		inner, ok := strings.CutPrefix(key, name+"[")
		if !ok {
			continue
		}
		inner = strings.TrimSuffix(inner, "]")
		switch {
		case len([]rune(inner)) > maxMetadataKey:
			return nil, BadParam("", name, "Metadata keys can be up to %d characters long. Invalid key: %s",
				maxMetadataKey, inner)
		case len([]rune(value)) > maxMetadataValue:
			return nil, BadParam("", name, "Metadata values can have up to %d characters, but you passed in a value "+
				"that is %d characters. Invalid value: %s", maxMetadataValue, len([]rune(value)), value)
		}
		found[inner] = value
	}
	return found, nil
}

// MergedMetadata merges the metadata of a request into that of the object.
func (q *Query) MergedMetadata(name string, old map[string]string) (map[string]string, *Error) {
	changes, err := q.Metadata(name)
	if err != nil {
		return nil, err
	}
	merged := MergeMetadata(old, changes)
	if len(merged) > maxMetadata {
		return nil, BadParam("", name, "You can only specify up to %d metadata keys.", maxMetadata)
	}
	return merged, nil
}

// MergeMetadata returns old with the changes; an empty value removes its key.
func MergeMetadata(old, changes map[string]string) map[string]string {
	next := make(map[string]string, len(old)+len(changes))
	maps.Copy(next, old)
	for k, v := range changes {
		if v == "" {
			delete(next, k)
		} else {
			next[k] = v
		}
	}
	return next
}
