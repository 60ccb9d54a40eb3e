package follow

import (
	"fmt"
	"slices"
	"strings"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// whoOf is the customer as people name it.
func whoOf(c Change) string {
	account, customer, err := entitlement.ParseKey(c.Key)
	if err != nil {
		return term.Printable(c.Key)
	}
	return term.Printable(stripeevent.Customer{Account: account, ID: customer}.String())
}

// Legend explains the marks of the lines.
const Legend = "✓ access · ✗ none · ~ access that ends by itself · req: requests to Stripe"

// Widths of the line's parts, in columns. The text of the change gets the rest of the line.
const (
	narrow = 70 // below it, a line leaves out how many requests there were
	wide   = 110
	// A name starts as wide as a short one, and grows up to a Stripe id with the next longer one.
	leastWho, NameWidth, narrowWho = 15, 18, 15
	statusWidth                    = 19
)

// lines makes one line of a change. It remembers the widest name, so that columns stay where they
// are.
type lines struct {
	out term.Terminal
	who int
}

func (l *lines) format(c Change) string {
	width := l.out.Width()
	name := whoOf(c)
	l.who = min(max(l.who, leastWho, term.Columns(name)), NameWidth)
	nameWidth := l.who
	switch {
	case width >= wide, !l.out.Screen:
		nameWidth = max(l.who, term.Columns(name))
	case width < narrow:
		nameWidth = narrowWho
	}
	mark, c1 := tell.Standing(&c.After, c.Seen)
	moved := transition(c)
	right, rightWidth := cost(c, width)
	left := 2 + nameWidth + 2 + max(statusWidth, term.Columns(moved)) + 1
	room := max(0, width-left-rightWidth-2)
	changed := phrases(c.Before, &c.After, c.Seen)
	if !l.out.Screen {
		room = max(room, widthOf(changed)+1) // and two columns before what it took, as between phrases
	}

	var b strings.Builder
	b.WriteString(l.out.Paint(c1, mark) + " ")
	b.WriteString(l.out.Paint(term.Strong, term.Pad(l.out.ShortenID(name, nameWidth), nameWidth)) + "  ")
	b.WriteString(l.out.Paint(statusTone(c, c1), moved))
	b.WriteString(strings.Repeat(" ", max(0, statusWidth-term.Columns(moved))+1))
	used := l.phrases(&b, changed, room)
	if right != "" {
		b.WriteString(strings.Repeat(" ", room-used+1) + l.out.Paint(term.Faint, term.PadLeft(right, rightWidth)))
	}
	return strings.TrimRight(b.String(), " ")
}

// statusTone colours a status that moved; one that stayed is not news.
func statusTone(c Change, now term.Tone) term.Tone {
	if c.Before != nil && tell.Status(c.Before) == tell.Status(&c.After) && c.Before.Access == c.After.Access {
		return term.Normal
	}
	return now
}

// phrases writes as many as fit into room columns and says how many do not. It returns the columns
// used.
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
		case term.Columns(text) <= left && (more == "" || widthOf(list[i:]) <= left || term.Columns(text+more) <= left):
		case i > 0:
			more = fmt.Sprintf("  +%d more", len(list)-i)
			if used+term.Columns(more) <= room {
				b.WriteString(l.out.Paint(term.Faint, more))
				used += term.Columns(more)
			}
			return used
		default:
			text = l.out.Shorten(text, left)
		}
		b.WriteString(strings.Repeat(" ", gap) + l.out.Paint(p.tone, text))
		used += gap + term.Columns(text)
	}
	return used
}

// fitting is the most detailed version of list that fits into room columns, or else the shortest.
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
		n += term.Columns(p.text)
	}
	return n
}

// cost returns the text of the sync's cost, as long as the width allows, and its columns.
func cost(c Change, width int) (text string, room int) {
	if c.Record == nil {
		return "", 0
	}
	after, byWebhook := c.Waited()
	text = term.Printable(c.Record.Trigger)
	switch {
	case byWebhook && width >= wide:
		text = tell.Short(after) + " after the webhook"
	case byWebhook:
		text = tell.Short(after)
	case width >= wide:
		text = "by " + text
	}
	switch {
	case width < narrow:
		room = 6
	case width < wide:
		text, room = text+fmt.Sprintf(" · %d req", c.Record.StripeRequests), 14
	default:
		text, room = text+" · "+term.Pad(tell.Count(c.Record.StripeRequests, "request"), len("2 requests")), 36
	}
	return text, max(room, term.Columns(text))
}
