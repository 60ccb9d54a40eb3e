package console

import (
	"bytes"
	"context"
	"sync"
	"time"

	"entitled/internal/inspect"
	"entitled/internal/stripeevent"
)

const (
	// sampleEvery is the time between two samples of a stream.
	sampleEvery = 2 * time.Second
	// fresh is how old a sample may be that a page shows.
	fresh = sampleEvery / 2
	// sampleWithin bounds the time for a sample.
	sampleWithin = 5 * time.Second
)

// An overview samples how the work stands.
type overview struct {
	source *source
	now    func() time.Time

	// mu is locked while NATS is asked, so that pages that are opened together ask once.
	mu   sync.Mutex
	last *sample
}

// A sample is how the work stood at an instant.
type sample struct {
	At time.Time
	// Now and Bulk are the customers that wait for a sync, by lane; Jobs are the jobs that are due.
	Now, Bulk, Jobs inspect.Backlog
	Failing         inspect.Failing
}

// take returns a sample that is fresh.
func (o *overview) take(ctx context.Context) (*sample, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last != nil && o.now().Sub(o.last.At) < fresh {
		return o.last, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sampleWithin)
	defer cancel()
	s, err := o.read(ctx)
	if err != nil {
		return nil, err
	}
	o.last = s
	return s, nil
}

func (o *overview) read(ctx context.Context) (*sample, error) {
	i, err := o.source.openInspector(ctx)
	if err != nil {
		return nil, err
	}
	s := &sample{At: o.now().UTC()}
	if s.Now, err = i.Lane(ctx, stripeevent.Now); err != nil {
		return nil, err
	}
	if s.Bulk, err = i.Lane(ctx, stripeevent.Bulk); err != nil {
		return nil, err
	}
	if s.Jobs, err = i.Jobs(ctx); err != nil {
		return nil, err
	}
	s.Failing, err = i.Failing(ctx, time.Time{})
	return s, err
}

// Dirty is the number of customers that wait for a sync.
func (s *sample) Dirty() uint64 { return s.Now.Len() + s.Bulk.Len() }

// Oldest is how long the oldest marker of the lane for webhooks has waited; 0 without one.
func (s *sample) Oldest() time.Duration { return waited(s.Now, s.At) }

// OldestBulk is that of the lane for bulk work.
func (s *sample) OldestBulk() time.Duration { return waited(s.Bulk, s.At) }

// OldestJob is how long the oldest job has been due; 0 without one.
func (s *sample) OldestJob() time.Duration { return waited(s.Jobs, s.At) }

func waited(b inspect.Backlog, at time.Time) time.Duration {
	if b.Oldest.IsZero() {
		return 0
	}
	return max(0, at.Sub(b.Oldest))
}

// showOverview answers GET /.
func showOverview(v *visit) (answer, error) {
	s, err := v.overview.take(v.ctx)
	return answer{template: "overview", title: "Overview", data: s}, err
}

// frame is what the stream of the overview sends: the live part of the page, or why there is none.
func (c *Console) frame(ctx context.Context) []byte {
	s, err := c.overview.take(ctx)
	var b bytes.Buffer
	if err != nil {
		wrong := c.problemOf(err)
		err = c.templates["overview"].ExecuteTemplate(&b, "live-problem", wrong)
	} else {
		err = c.templates["overview"].ExecuteTemplate(&b, "live-figures", s)
	}
	if err != nil {
		c.cfg.Log.Error("could not render the live part of the overview", "err", err)
		return nil
	}
	return message("", b.Bytes())
}
