package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
)

// perCustomer bounds the streams of one customer.
const perCustomer = 100

// A hub tells the streams of a customer that it may have changed. One watch of the whole bucket
// feeds it.
type hub struct {
	max int

	mu   sync.Mutex // guards open and byRef
	open int
	// byRef has the streams by the reference that they follow.
	byRef map[decision.Ref]map[*listener]struct{}
	// features counts the customers that have a feature, by its name.
	features map[string]int

	draining chan struct{} // closed, under mu, when the gateway stops
	streams  sync.WaitGroup
}

// A listener is signaled when its stream should look at the state again. One pending signal stands
// for any number.
type listener chan struct{}

func newHub(limit int) *hub {
	return &hub{max: limit, byRef: map[decision.Ref]map[*listener]struct{}{}, features: map[string]int{},
		draining: make(chan struct{})}
}

var (
	tooManyStreams = &problem{status: http.StatusTooManyRequests, code: "too_many_streams",
		message: "the customer has 100 streams open", retryAfter: 30}
	gatewayFull = &problem{status: http.StatusServiceUnavailable, code: "full",
		message: "the gateway has MAX_STREAMS streams open; ask another gateway", retryAfter: 10}
)

// join registers a stream for the customers behind a reference. The caller calls leave.
func (h *hub) join(who decision.Ref) (*listener, *problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stopped():
		return nil, stopping
	case len(h.byRef[who]) >= perCustomer:
		return nil, tooManyStreams
	case h.open >= h.max:
		return nil, gatewayFull
	}
	l := listener(make(chan struct{}, 1))
	if h.byRef[who] == nil {
		h.byRef[who] = map[*listener]struct{}{}
	}
	h.byRef[who][&l] = struct{}{}
	h.open++
	h.streams.Add(1)
	return &l, nil
}

func (h *hub) leave(who decision.Ref, l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.byRef[who], l)
	if len(h.byRef[who]) == 0 {
		delete(h.byRef, who)
	}
	h.open--
	h.streams.Done()
}

func (h *hub) stopped() bool {
	select {
	case <-h.draining:
		return true
	default:
		return false
	}
}

// stop ends all streams, and refuses new ones.
func (h *hub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped() {
		close(h.draining)
	}
}

// wait waits for the end of all streams after stop, which takes as long as a write at most.
func (h *hub) wait() { h.streams.Wait() }

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

// follow signals streams until ctx or the source ends.
func (h *hub) follow(ctx context.Context, s Source) {
	for change := range s.Watch(ctx) {
		h.changed(&change)
	}
}

// changed signals the streams of a customer's key, and of the ids that it has and had.
func (h *hub) changed(c *entitlement.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range c.Previous.Features {
		if h.features[name]--; h.features[name] <= 0 {
			delete(h.features, name)
		}
	}
	for _, name := range c.Snapshot.Features {
		h.features[name]++
	}
	h.signal(decision.Ref{Name: c.Key})
	if id := c.Snapshot.ID; id != "" {
		h.signal(decision.Ref{Name: id, IsID: true})
	}
	if id := c.Previous.ID; id != "" && id != c.Snapshot.ID {
		h.signal(decision.Ref{Name: id, IsID: true})
	}
}

// signal requires mu.
func (h *hub) signal(who decision.Ref) {
	for l := range h.byRef[who] {
		l.signal()
	}
}

func (l listener) signal() {
	select {
	case l <- struct{}{}:
	default:
	}
}

// everybody signals all streams.
func (h *hub) everybody() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for who := range h.byRef {
		h.signal(who)
	}
}

// inBucket returns the names of the features that some customer has.
func (h *hub) inBucket() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := make([]string, 0, len(h.features))
	for name := range h.features {
		names = append(names, name)
	}
	return names
}

// watchStatus signals all streams when the view becomes stale, when it is current again, and when
// another plans document is in force, whose default answers for unknown customers. It returns when
// ctx ends.
func (h *hub) watchStatus(ctx context.Context, s Source) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	wasStale, document := false, uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			st := s.Status()
			if stale := staleSince(st, now) != nil; stale != wasStale || st.PlansRevision != document {
				wasStale, document = stale, st.PlansRevision
				h.everybody()
			}
		}
	}
}
