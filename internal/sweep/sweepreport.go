package sweep

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Report counts what a sweep read and did. Every customer that was listed counts in exactly one
// of Unchanged, Created, Changed, Deleted, Left, Unwritten, Marked and Waiting.
type Report struct {
	Account string `json:"account,omitempty"`
	// Expected is how many subscriptions the sweep before found, 0 if that is not known.
	Expected int `json:"-"`
	// Requests went to Stripe; Resumed pages had been read by an earlier run.
	Requests int `json:"requests"`
	Resumed  int `json:"resumed_pages,omitempty"`
	// Began is when the run that this one resumes began; zero if it resumes none.
	Began         time.Time `json:"resumed_from,omitzero"`
	Pages         int       `json:"pages"`
	Subscriptions int       `json:"subscriptions"`
	Customers     int       `json:"customers"`
	// Unchanged customers are as Stripe has them; Created, Changed and Deleted ones were written. A
	// customer that is deleted at Stripe and not in the bucket counts as unchanged: writing it
	// would bring back forgotten customers.
	Unchanged int `json:"unchanged"`
	Created   int `json:"created"`
	Changed   int `json:"changed"`
	Deleted   int `json:"deleted"`
	// Left customers were written meanwhile by a sync, or by a newer version of this program.
	Left int `json:"left"`
	// Unwritten customers have a snapshot that NATS refuses; Reasons name the first of them, with
	// the error.
	Unwritten int      `json:"unwritten,omitempty"`
	Reasons   []string `json:"reasons,omitempty"`
	// Marked customers differ and were marked for a sync; Waiting ones differ and had a marker
	// already.
	Marked  int `json:"marked"`
	Waiting int `json:"waiting"`
	// Unread customers, also counted in Marked or Waiting, have a snapshot without features,
	// although a sync reads them.
	Unread int `json:"unread,omitempty"`
	// Unlisted customers have subscriptions in the bucket and none in the listing; they are marked
	// too. Stripe does not list subscriptions on test clocks.
	Unlisted int `json:"unlisted"`
	// Drift counts the customers that differed without a marker; Drifted names the first of them.
	Drift   int      `json:"drift"`
	Drifted []string `json:"drifted,omitempty"`
	// Took is in seconds.
	Took float64 `json:"took_seconds"`
}

const (
	// manyDrifted bounds the drifted customers that a report names; manyReasons the unwritten ones.
	manyDrifted = 100
	manyReasons = 10
)

func (s *sweep) report(change func(*Report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.done)
	if s.progress != nil {
		s.progress(s.done)
	}
}

// ErrUnwritten says that a sweep is complete except for customers whose snapshot NATS refuses.
var ErrUnwritten = errors.New("not written")

// unwritten returns ErrUnwritten with the reasons, nil if every customer was written.
func (r Report) unwritten() error {
	if r.Unwritten == 0 {
		return nil
	}
	reasons := strings.Join(r.Reasons, "; ")
	if more := r.Unwritten - len(r.Reasons); more > 0 {
		reasons += fmt.Sprintf("; and %d more", more)
	}
	return fmt.Errorf("%d of %d customers %w: %s", r.Unwritten, r.Customers, ErrUnwritten, reasons)
}

// leaveOut counts a customer whose snapshot or record NATS refuses. Its marker stays, and leads to
// a sync.
func (s *sweep) leaveOut(w *overwrite, err error) {
	s.report(func(d *Report) {
		d.Unwritten++
		if len(d.Reasons) < manyReasons {
			d.Reasons = append(d.Reasons[:len(d.Reasons):len(d.Reasons)], fmt.Sprintf("%s: %v", w.customer, err))
		}
	})
}
