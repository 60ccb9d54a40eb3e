package streams

import "strings"

// MergeFilters adds a filter of subjects to others, without overlaps, which the server refuses.
func MergeFilters(list []string, filter string) []string {
	out := list[:0:0]
	for _, f := range list {
		switch {
		case covers(f, filter):
			return list
		case !covers(filter, f):
			out = append(out, f)
		}
	}
	return append(out, filter)
}

func covers(wide, narrow string) bool {
	head, open := strings.CutSuffix(wide, ">")
	return wide == narrow || open && strings.HasPrefix(narrow, head)
}
