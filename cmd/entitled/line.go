package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
)

// A change is one new content of a customer's snapshot, as a watcher of the bucket saw it.
type change struct {
	key      string
	revision uint64
	// initial says that this is the state that was found, not a change.
	initial bool
	// before is what the watcher knew, nil for a customer it sees for the first time.
	before *entitlement.Snapshot
	// after is zero for a customer that is not in the bucket.
	after entitlement.Snapshot
	seen  time.Time
	// record is what the syncer left about the sync that wrote it; nil if that did not arrive.
	record *syncer.Record
}

// waited is how long after the webhook the change was seen. It is false where no webhook led to it.
func (c change) waited() (time.Duration, bool) {
	if c.record == nil || c.record.ReceivedAt == nil || c.record.Trigger != stripeevent.TriggerWebhook {
		return 0, false
	}
	return max(0, c.seen.Sub(*c.record.ReceivedAt)), true
}

// who is the customer as people name it.
func (c change) who() string {
	account, customer, err := entitlement.ParseKey(c.key)
	if err != nil {
		return printable(c.key)
	}
	return printable(stripeevent.Customer{Account: account, ID: customer}.String())
}

// encode is the change as one line for programs.
func (c change) encode() []byte {
	line := struct {
		Key      string          `json:"key"`
		Revision uint64          `json:"revision"`
		Snapshot json.RawMessage `json:"snapshot"`
	}{c.key, c.revision, json.RawMessage("null")}
	if c.after.Customer != "" {
		line.Snapshot = c.after.Encode()
	}
	b, _ := json.Marshal(line) // text, a number and JSON: cannot fail
	return append(b, '\n')
}

// legend explains the lines; it is printed once above them.
const legend = "✓ access · ✗ none · ~ access that ends by itself · req: requests to Stripe"

// Widths of the line's parts, in columns. What changed gets what is left.
const (
	narrow = 70 // below it, a line leaves out how many requests there were
	wide   = 110
	// A name starts as wide as a short one, and grows up to a Stripe id with the next longer one.
	leastWho, mostWho, narrowWho = 15, 18, 15
	statusWidth                  = 19
)

// lines makes one line of a change. It remembers the widest name, so that columns stay where they are.
type lines struct {
	out terminal
	who int
}

func (l *lines) format(c change) string {
	width := l.out.width()
	name := c.who()
	l.who = min(max(l.who, leastWho, columns(name)), mostWho)
	nameWidth := l.who
	switch {
	case width >= wide, !l.out.clips:
		nameWidth = max(l.who, columns(name))
	case width < narrow:
		nameWidth = narrowWho
	}
	mark, c1 := standing(&c.after, c.seen)
	moved := transition(c)
	right, rightWidth := cost(c, width)
	left := 2 + nameWidth + 2 + max(statusWidth, columns(moved)) + 1
	room := max(0, width-left-rightWidth-2)
	changed := phrases(c.before, &c.after, c.seen)
	if !l.out.clips {
		room = max(room, widthOf(changed)+1) // and two columns before what it took, as between phrases
	}

	var b strings.Builder
	b.WriteString(l.out.paint(c1, mark) + " ")
	b.WriteString(l.out.paint(strong, pad(l.out.shortenID(name, nameWidth), nameWidth)) + "  ")
	b.WriteString(l.out.paint(statusTone(c, c1), moved))
	b.WriteString(strings.Repeat(" ", max(0, statusWidth-columns(moved))+1))
	used := l.phrases(&b, changed, room)
	if right != "" {
		b.WriteString(strings.Repeat(" ", room-used+1) + l.out.paint(faint, padLeft(right, rightWidth)))
	}
	return strings.TrimRight(b.String(), " ")
}

// statusTone colours a status that moved; one that stayed is not news.
func statusTone(c change, now tone) tone {
	if c.before != nil && status(c.before) == status(&c.after) && c.before.Access == c.after.Access {
		return normal
	}
	return now
}

// phrases writes as many as fit into room columns and says how many do not. It returns the columns used.
func (l *lines) phrases(b *strings.Builder, list []phrase, room int) (used int) {
	list = fitting(list, room)
	for i, p := range list {
		gap, more := 2, ""
		if i == 0 {
			gap = 0
		}
		if n := len(list) - i - 1; n > 0 {
			more = fmt.Sprintf("  +%d more", n)
		}
		text := p.text
		switch left := room - used - gap; {
		case columns(text) <= left && (more == "" || widthOf(list[i:]) <= left || columns(text+more) <= left):
		case i > 0:
			more = fmt.Sprintf("  +%d more", len(list)-i)
			if used+columns(more) <= room {
				b.WriteString(l.out.paint(faint, more))
				used += columns(more)
			}
			return used
		default:
			text = l.out.shorten(text, left)
		}
		b.WriteString(strings.Repeat(" ", gap) + l.out.paint(p.tone, text))
		used += gap + columns(text)
	}
	return used
}

// fitting is the most telling version of list that fits into room columns, or else the shortest.
func fitting(list []phrase, room int) []phrase {
	major := slices.DeleteFunc(slices.Clone(list), func(p phrase) bool { return p.minor })
	for _, version := range [][]phrase{list, major, brief(list, room)} {
		if widthOf(version) <= room {
			return version
		}
	}
	return brief(major, room)
}

// brief shortens phrases, the least important first, until they fit into room columns.
func brief(list []phrase, room int) []phrase {
	list = slices.Clone(list)
	for i := len(list) - 1; i >= 0 && widthOf(list) > room; i-- {
		list[i].text = list[i].brief
	}
	return list
}

func widthOf(list []phrase) int {
	n := 2 * max(0, len(list)-1)
	for _, p := range list {
		n += columns(p.text)
	}
	return n
}

// cost is what the change took, as long as the width allows, and how many columns to keep for it.
func cost(c change, width int) (text string, room int) {
	if c.record == nil {
		return "", 0
	}
	after, byWebhook := c.waited()
	text = printable(c.record.Trigger)
	switch {
	case byWebhook && width >= wide:
		text = short(after) + " after the webhook"
	case byWebhook:
		text = short(after)
	case width >= wide:
		text = "by " + text
	}
	switch {
	case width < narrow:
		room = 6
	case width < wide:
		text, room = text+fmt.Sprintf(" · %d req", c.record.StripeRequests), 14
	default:
		text, room = text+" · "+pad(count(c.record.StripeRequests, "request"), len("2 requests")), 36
	}
	return text, max(room, columns(text))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// short is a duration to two or three digits.
func short(d time.Duration) string {
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
	return ago(d)
}

// ago is a long duration in its largest unit.
func ago(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{365 * day, "year"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= 2*u.unit || d >= u.unit && u.unit < day {
			return count(int(d/u.unit), u.name)
		}
	}
	return short(max(0, min(d, 119*time.Second)))
}

// quantile is the q-th quantile of durations, which it sorts.
func quantile(durations []time.Duration, q float64) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	slices.Sort(durations)
	return durations[int(q*float64(len(durations)-1)+0.5)]
}
