package tell

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TimeForms is how times are written, in helps and hints. Whatever this tool prints with a day and
// a time is among them.
const TimeForms = "2h or 3d (ago), 14:02 (the latest), 2026-11-22, 2026-11-22 14:02, or RFC 3339; seconds may " +
	"follow, and UTC is meant where no zone is"

// Layouts of instants. A fraction of a second may follow the seconds of any.
var (
	zoned = []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00"}
	inUTC = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04",
		time.DateOnly}
	timeDay = []string{"15:04:05", "15:04"}
)

// TimeArg reads an instant, or how long ago it was. A day is its beginning. No text is no time.
func TimeArg(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, ok := parseAny(zoned, text); ok {
		return t.UTC(), nil
	}
	bare := strings.TrimSuffix(text, " UTC")
	if t, ok := parseAny(inUTC, bare); ok {
		return t, nil
	}
	if t, ok := parseAny(timeDay, bare); ok {
		y, m, d := now.UTC().Date()
		t = time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
		if t.After(now) {
			t = t.AddDate(0, 0, -1)
		}
		return t, nil
	}
	if ago, ok := parseAgo(text); ok {
		return now.Add(-ago).UTC(), nil
	}
	return time.Time{}, WithHint(fmt.Errorf("%s %q: neither a time nor a "+
		"duration", flag, text), "times are "+TimeForms)
}

func parseAny(layouts []string, text string) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseAgo reads a duration that may begin with days: 90m, 3d, 1d12h.
func parseAgo(text string) (ago time.Duration, ok bool) {
	rest := text
	if head, tail, found := strings.Cut(text, "d"); found {
		days, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return 0, false
		}
		rest, ago = tail, time.Duration(days)*24*time.Hour
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || ago+d < 0 {
			return 0, false
		}
		ago += d
	}
	return ago, true
}

// PastArg reads an instant to look back to.
func PastArg(flag, text string, now time.Time) (time.Time, error) {
	t, err := TimeArg(flag, text, now)
	if err == nil && t.After(now) {
		err = WithHint(fmt.Errorf("%s %s is ahead: "+
			"it is %s", flag, Clock(t), Clock(now)), "give a time that has passed")
	}
	return t, err
}
