package tell

import (
	"fmt"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// Count returns a number with its noun: "1 event", "3 events".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Short returns a duration with two or three digits.
func Short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return Ago(d)
}

// Ago is a long duration in its largest unit.
func Ago(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{365 * day, "year"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= 2*u.unit || d >= u.unit && u.unit < day {
			return Count(int(d/u.unit), u.name)
		}
	}
	return Short(max(0, min(d, 119*time.Second)))
}

// Instant is a time given by Stripe, in unix seconds: the day, and how far it is.
func Instant(unix int64, now time.Time) string {
	t := time.Unix(unix, 0).UTC()
	d := t.Sub(now)
	text := t.Format("2 Jan 2006")
	if d.Abs() < 48*time.Hour {
		text = t.Format("2 Jan 15:04 UTC")
	}
	switch {
	case d.Abs() < time.Second:
		return text + " (now)"
	case d < 0:
		return text + " (" + Ago(-d) + " ago)"
	}
	return text + " (in " + Ago(d) + ")"
}

func Since(t, now time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	d := now.Sub(t)
	if d < 0 {
		return "just now"
	}
	return Ago(d) + " ago"
}

// Clock returns a time in UTC, to the second.
func Clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// Because is a cause in a few words.
func Because(trigger, typ, event string) string {
	return strings.TrimSpace(trigger + " " + typ + " " + event)
}

// Moment is an instant as exact as the lines of a story have it.
func Moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

// Size returns a number of bytes in the largest unit.
func Size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// Command returns a command of this tool to copy, with the mode. Without --mode, the mode of a
// command depends on STRIPE_API_KEY and on the buckets in NATS.
func Command(m entitlement.Mode, text string) string {
	return "`" + text + " --mode " + string(m) + "`"
}

// Elsewhere returns the next step for a customer that was not found.
func Elsewhere(c stripeevent.Customer) string {
	if c.Account != "" {
		return "choose with --mode"
	}
	return "choose with --mode; customers of connected accounts are named acct_…/cus_…"
}
