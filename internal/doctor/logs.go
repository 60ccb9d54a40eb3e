package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/servers"
	"entitled/internal/topology"
)

// logs checks STRIPE_EVENTS and STRIPE_SYNCED, which grow with every webhook.
func logs(ctx context.Context, js jetstream.JetStream, cfg Config, fleet servers.Fleet) []Check {
	logs, err := topology.Logs(ctx, js)
	if err != nil {
		return []Check{{Name: "log limits", State: Fail, Text: "not looked at: " + err.Error(),
			Next: "run this as a NATS user who may look at the streams, ops of nats.conf for one"}}
	}
	return []Check{logLimits(logs, cfg.Now()), growth(logs, fleet, cfg.Now())}
}

// logLimits checks the operator's size limits, which may delete messages earlier than expected.
func logLimits(logs []*jetstream.StreamInfo, now time.Time) Check {
	c := Check{
		Name: "log limits", State: OK,
		Text: "none on the size of STRIPE_EVENTS and STRIPE_SYNCED: EVENTS_MAX_AGE alone says what they keep",
	}
	var limits []topology.LogLimit
	for _, log := range logs {
		limits = append(limits, topology.LogLimits(log)...)
	}
	if len(limits) == 0 {
		return c
	}
	c.State = Warn
	var texts, edits []string
	for _, l := range limits {
		texts = append(texts, limitText(l, now))
		edits = append(edits,
			fmt.Sprintf("`nats stream edit %s --%s=-1`", l.Stream, strings.ReplaceAll(l.Field, "_", "-")))
		if l.Full && l.Refuses {
			c.State = Fail
		}
	}
	c.Text = strings.Join(texts, "; ")
	c.Next = strings.Join(edits, ", ") +
		" removes the limit, a larger number raises it; if the disk is too small, lower EVENTS_MAX_AGE instead"
	return c
}

// A log younger than tooYoung allows no estimate; one older than whole allows a warning.
const tooYoung, whole = time.Hour, 24 * time.Hour

// growth estimates the daily growth of the logs, and how long the store of the fullest server
// lasts.
func growth(logs []*jetstream.StreamInfo, fleet servers.Fleet, now time.Time) Check {
	const day = 24 * time.Hour
	c := Check{Name: "log growth", State: OK}
	var texts []string
	var perDay, willTake, has float64
	oldest, maxAge := time.Duration(0), time.Duration(0)
	endless := false
	for _, log := range logs {
		s := log.State
		has += float64(s.Bytes)
		if s.Msgs == 0 {
			texts = append(texts, log.Config.Name+" is empty")
			continue
		}
		since := now.Sub(s.FirstTime)
		oldest, maxAge = max(oldest, since), max(maxAge, log.Config.MaxAge)
		text := fmt.Sprintf("%s has %s in %s, %s a message",
			log.Config.Name, size(int64(s.Bytes)), span(since), size(int64(s.Bytes/s.Msgs)))
		if since >= tooYoung {
			rate := float64(s.Bytes) / float64(since) * float64(day)
			perDay += rate
			willTake += rate * float64(log.Config.MaxAge) / float64(day)
			endless = endless || log.Config.MaxAge == 0
			text += fmt.Sprintf(", %s a day", size(int64(rate)))
		}
		texts = append(texts, text)
	}
	c.Text = strings.Join(texts, "; ")
	if perDay == 0 {
		if oldest > 0 {
			c.Text += ": too young to estimate the growth per day"
		}
		return c
	}
	if !endless {
		c.Text += fmt.Sprintf("; after EVENTS_MAX_AGE (%s) they take %s", age(maxAge), size(int64(willTake)))
	}
	left, known := room(fleet)
	if !known {
		return c
	}
	lasts := time.Duration(min(left/perDay, 100*365) * float64(day))
	if !endless && willTake-has < left {
		c.Text += fmt.Sprintf(", and there is room for %s more", size(int64(left)))
		return c
	}
	text := fmt.Sprintf("at that pace the store is full in %s", span(lasts))
	if !endless {
		text += ", before EVENTS_MAX_AGE deletes enough"
	}
	c.Text += ": " + text
	if oldest >= whole {
		c.State = Warn
		c.Next = "a larger disk and max_file_store, or a lower EVENTS_MAX_AGE with `entitled topology apply`, which " +
			"deletes older messages"
	}
	return c
}

// room returns the free space in bytes of the server with the least.
func room(f servers.Fleet) (left float64, known bool) {
	for _, s := range f.Servers {
		m := s.JetStream
		if m.Disabled || m.Config.MaxStorage <= 0 {
			continue
		}
		if r := float64(max(0, m.Config.MaxStorage-m.Storage)); !known || r < left {
			left, known = r, true
		}
	}
	return left, known
}

func limitText(l topology.LogLimit, now time.Time) string {
	lost := map[string]string{topology.EventsStream: "webhooks are answered 503",
		topology.SyncedStream: "no sync can end"}[l.Stream]
	text := fmt.Sprintf("%s has %d of %s %d (%d %%)", l.Stream, l.Has, l.Field, l.Limit, l.Has*100/l.Limit)
	if !l.Oldest.IsZero() {
		text += ", the oldest from " + ago(l.Oldest, now) + " ago"
	}
	switch {
	case l.Full && l.Refuses:
		return text + ": it is full and takes no more: " + lost
	case l.Full:
		return text + ": it is full and drops the oldest for each that comes, whatever EVENTS_MAX_AGE (" +
			age(l.MaxAge) + ") promises"
	case l.Refuses:
		return text + ": once full it takes no more, and " + lost
	}
	return text + ": once full it drops the oldest, whatever EVENTS_MAX_AGE (" + age(l.MaxAge) + ") promises"
}
