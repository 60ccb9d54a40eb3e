// Package hub makes frames while somebody watches, and gives each to all watchers: however many tabs are
// open, NATS is asked once.
package hub

import (
	"context"
	"sync"
	"time"
)

// A Hub is one source of frames. Its methods are safe for concurrent use.
type Hub struct {
	every time.Duration
	// frame makes the next frame. It returns before its context ends, or soon after.
	frame func(context.Context) []byte

	mu       sync.Mutex
	watchers map[*watcher]bool
	last     []byte // the newest frame; nil while nobody watches
	// run ends the maker, which runs while there are watchers.
	run     context.CancelFunc
	stopped bool
	making  sync.WaitGroup
}

// A watcher is one stream. It receives the newest frame, and may miss some before.
type watcher struct {
	news chan struct{} // has room for one
	end  chan struct{} // closed when the hub stops
}

// New returns a hub that makes a frame every interval while somebody watches.
func New(every time.Duration, frame func(context.Context) []byte) *Hub {
	return &Hub{every: every, frame: frame, watchers: map[*watcher]bool{}}
}

// Watch calls send with the newest frame, and then with the newest one after each change, until ctx
// ends, the hub stops or send fails.
func (h *Hub) Watch(ctx context.Context, send func(frame []byte) error) error {
	w := &watcher{news: make(chan struct{}, 1), end: make(chan struct{})}
	if !h.join(w) {
		return nil
	}
	defer h.leave(w)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.end:
			return nil
		case <-w.news:
			h.mu.Lock()
			frame := h.last
			h.mu.Unlock()
			if err := send(frame); err != nil {
				return err
			}
		}
	}
}

func (h *Hub) join(w *watcher) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return false
	}
	h.watchers[w] = true
	if h.last != nil {
		w.news <- struct{}{}
	}
	if h.run == nil {
		ctx, cancel := context.WithCancel(context.Background())
		h.run = cancel
		h.making.Go(func() { h.work(ctx) }) // Stop waits for it
	}
	return true
}

func (h *Hub) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
	if len(h.watchers) == 0 && h.run != nil {
		h.run()
		h.run, h.last = nil, nil
	}
}

// Running reports whether the hub makes frames.
func (h *Hub) Running() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.run != nil
}

// Stop ends all streams, and returns when the hub asks NATS nothing more.
func (h *Hub) Stop() {
	h.mu.Lock()
	if !h.stopped {
		h.stopped = true
		for w := range h.watchers {
			close(w.end)
		}
		if h.run != nil {
			h.run()
		}
	}
	h.mu.Unlock()
	h.making.Wait()
}

// work makes frames until ctx ends.
func (h *Hub) work(ctx context.Context) {
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for {
		frame := h.frame(ctx)
		if !h.spread(ctx, frame) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// spread gives a frame to all watchers, unless ctx has ended: then the watchers may be those of another
// call of work.
func (h *Hub) spread(ctx context.Context, frame []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	h.last = frame
	for w := range h.watchers {
		select {
		case w.news <- struct{}{}:
		default: // it has not taken the one before, and will take this one instead
		}
	}
	return true
}
