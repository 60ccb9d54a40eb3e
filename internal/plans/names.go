package plans

import (
	"regexp"
	"slices"
	"strings"
)

// The names that features, limits and plans may have. Stripe's lookup keys of features fit the
// first; the second leaves room for entitled_limit_ in the 40 characters of a metadata key.
var (
	featureName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,80}$`)
	shortName   = regexp.MustCompile(`^[a-z0-9_]{1,25}$`)
)

// reserved reports whether the name stands for something else where all features, limits and plans
// are listed together.
func reserved(name string) bool {
	return name == "access" || name == "plans" || strings.HasPrefix(name, "limit.")
}

// similar is the candidate that the name most probably stands for, "" if none is near: one mistake
// in three characters, and at most three.
func similar(name string, candidates []string) string {
	if len(name) > 100 {
		return ""
	}
	best, least := "", max(1, min(3, len(name)/3))+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(strings.ToLower(name), strings.ToLower(c), least); d < least && d < len(c) {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of characters to insert, delete, replace, or swap with the next one, that
// lead from a to b; more than most if it is more.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
