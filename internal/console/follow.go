package console

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"entitled/internal/audit"
)

const (
	// followEvery is the pause between two looks at the end of the log.
	followEvery = time.Second
	// followedAtOnce bounds the events that one look reads; followedKept is how many are kept for tabs that
	// connect again.
	followedAtOnce, followedKept = 200, 400
)

// A follower looks for new events while a page follows the log, once for all pages.
type follower struct {
	console *Console

	mu   sync.Mutex
	last uint64        // the newest event that was read
	list []audit.Event // the newest first
	// gap is the newest event behind which some were left out, because too many came at once.
	gap     uint64
	problem *problem
}

// look reads the new events. The frame that it returns only wakes the streams.
func (f *follower) look(ctx context.Context) []byte {
	log, err := f.console.source.openLog(ctx)
	f.mu.Lock()
	last := f.last
	f.mu.Unlock()
	var found []audit.Event
	var more bool
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, answerWithin)
		found, more, err = log.After(ctx, f.console.cfg.Mode, last, followedAtOnce)
		cancel()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem = nil; err != nil {
		p := f.console.problemOf(err)
		f.problem = &p
		return []byte{}
	}
	if len(found) > 0 {
		if more && last > 0 {
			f.gap = found[len(found)-1].Seq
		}
		f.last = found[0].Seq
		f.list = append(slices.Clone(found), f.list...)
		f.list = f.list[:min(len(f.list), followedKept)]
	}
	return []byte{}
}

// A followed is the content of a message to a page that follows the log.
type followed struct {
	Events  []audit.Event
	Left    bool // events were left out
	Problem *problem
	Now     time.Time
}

// behind returns the new events of a slice behind a sequence, and the sequence of the newest of all.
func (f *follower) behind(s audit.Slice, seq uint64) (followed, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := followed{Problem: f.problem, Left: f.gap > seq, Now: f.console.now()}
	for _, e := range f.list {
		if e.Seq <= seq {
			break
		}
		if s.Has(&e) {
			news.Events = append(news.Events, e)
		}
	}
	return news, max(seq, f.last)
}

// followEvents answers GET /events/live: the new events of the form's slice behind the one that the
// browser has last.
func (c *Console) followEvents(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	_, slice, err := (&visit{Console: c, Request: r, ctx: ctx, now: c.now()}).sliceOf()
	cancel()
	if err != nil {
		wrong := c.problemOf(err)
		http.Error(w, wrong.Title+": "+wrong.Error(), wrong.status)
		return
	}
	seq := uint64(atLeast(0, r.FormValue("after")))
	seq = max(seq, uint64(atLeast(0, r.Header.Get("Last-Event-ID"))))
	away := false
	c.following.Stream(func([]byte) []byte {
		news, newest := c.follower.behind(slice, seq)
		seq = newest
		if len(news.Events) == 0 && !news.Left && (news.Problem != nil) == away {
			return []byte(":\n\n") // keeps the connection open
		}
		away = news.Problem != nil
		return append([]byte("id: "+strconv.FormatUint(seq, 10)+"\n"), c.part("events", "live-events", news)...)
	})(w, r)
}
