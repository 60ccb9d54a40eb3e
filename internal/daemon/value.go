package daemon

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// parseDuration is time.ParseDuration with a leading number of days (none of Go's units begins with
// d).
func parseDuration(s string) (time.Duration, error) {
	var d time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 64)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return 0, errors.New("not a number of days")
		}
		if d = time.Duration(n) * day; rest == "" {
			return d, nil
		}
		s = rest
	}
	rest, err := time.ParseDuration(s)
	switch {
	case err == nil && rest > math.MaxInt64-d:
		return 0, errors.New("out of range")
	case err == nil:
		return d + rest, nil
	}
	if _, numErr := strconv.ParseFloat(s, 64); numErr == nil {
		return 0, errors.New("no unit")
	}
	return 0, errors.New("not a duration")
}

// inDays formats a duration as short as possible: 90d, 72h, 5m, 1.5s.
func inDays(d time.Duration) string {
	switch {
	case d >= 3*day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}

func parseBytes(s string) (int64, error) {
	digits := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(s)
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, errors.New("not a size")
	}
	var unit int64
	switch strings.ToLower(strings.TrimSpace(s[digits:])) {
	case "", "b":
		unit = 1
	case "kb":
		unit = 1e3
	case "mb":
		unit = 1e6
	case "kib":
		unit = 1 << 10
	case "mib":
		unit = 1 << 20
	default:
		return 0, errors.New("unknown unit")
	}
	if n > math.MaxInt64/unit {
		return 0, errors.New("out of range")
	}
	return n * unit, nil
}

func inBytes(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + " MiB"
	case n >= 1<<10 && n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + " KiB"
	}
	return strconv.FormatInt(n, 10)
}
