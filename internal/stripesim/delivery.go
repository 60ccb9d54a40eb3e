package stripesim

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Attempt is one webhook request that was made.
type Attempt struct {
	Event     string    `json:"event"`
	Type      string    `json:"type"`
	Endpoint  string    `json:"endpoint"`
	Number    int       `json:"number"` // 1 for the first
	Duplicate bool      `json:"duplicate,omitempty"`
	Time      time.Time `json:"time"`
	Status    int       `json:"status"` // 0 without an answer
	Error     string    `json:"error,omitempty"`
}

// deliveries sends events to endpoints: at most so many at a time, in an order that the
// seed decides among what is due at once, again until a 2xx comes or patience ends.
type deliveries struct {
	sim    *Sim
	client *http.Client
	ctx    context.Context // ends with close; requests under way end with it
	cancel context.CancelFunc
	loop   sync.WaitGroup // the dispatcher and the posts it started
	wake   chan struct{}  // holds one signal that jobs or places changed

	mu        sync.Mutex
	started   bool
	endpoints []*WebhookEndpoint
	jobs      jobHeap
	flying    int
	open      int           // jobs not finished
	quiet     chan struct{} // closed when open reaches 0; nil unless somebody waits
	attempts  []Attempt
}

// job is one delivery of an event to an endpoint.
type job struct {
	*delivery
	due       time.Time
	key       uint64
	attempt   int
	duplicate bool
}

// delivery is what the job and its duplicate share. The deliveries' mutex guards done.
type delivery struct {
	event    *event
	endpoint string
	done     bool
}

func newDeliveries(s *Sim) *deliveries {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConns = 0
	transport.MaxIdleConnsPerHost = s.cfg.DeliveryConcurrency
	ctx, cancel := context.WithCancel(context.Background())
	return &deliveries{
		sim: s, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1),
		client: &http.Client{
			Transport: transport, Timeout: s.cfg.DeliveryTimeout,
			// Stripe does not follow redirects: a 3xx is a failure.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (d *deliveries) close() {
	d.cancel()
	d.loop.Wait()
	d.client.CloseIdleConnections()
}

func (d *deliveries) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *deliveries) add(w WebhookEndpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endpoints = append(d.endpoints, &w)
	if !d.started && d.ctx.Err() == nil {
		d.started = true
		d.loop.Go(d.dispatch)
	}
}

func (d *deliveries) remove(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endpoints = slices.DeleteFunc(d.endpoints, func(w *WebhookEndpoint) bool { return w.ID == id })
	kept := d.jobs[:0]
	for _, j := range d.jobs {
		if j.endpoint != id {
			kept = append(kept, j)
			continue
		}
		j.giveUp()
		d.finished()
	}
	clear(d.jobs[len(kept):])
	d.jobs = kept
	heap.Init(&d.jobs)
}

func (d *deliveries) setSecrets(id string, secrets []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.endpoints {
		if w.ID == id {
			w.Secrets = secrets
		}
	}
}

func (d *deliveries) list() []WebhookEndpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []WebhookEndpoint
	for _, w := range d.endpoints {
		out = append(out, *w)
	}
	return out
}

// enqueue books deliveries of one step's events, which are due together.
func (d *deliveries) enqueue(w *world, batch []*event) {
	f, now := d.sim.faults.Load(), time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range batch {
		for _, ep := range d.endpoints {
			if !ep.wants(e) {
				continue
			}
			luck := chance(d.sim.cfg.Seed, "delivery", e.id, ep.ID)
			if luck.Float64() < f.WebhookDrop {
				e.failed.Add(1)
				continue
			}
			e.pending.Add(1)
			shared := &delivery{event: e, endpoint: ep.ID}
			d.push(&job{delivery: shared, due: now.Add(f.WebhookDelay.draw(luck)), key: luck.Uint64(), attempt: 1})
			if luck.Float64() < f.WebhookDuplicate {
				d.push(&job{delivery: shared, due: now.Add(f.WebhookDelay.draw(luck)), key: luck.Uint64(), attempt: 1, duplicate: true})
			}
		}
	}
	d.signal()
}

func (d *deliveries) push(j *job) {
	d.open++
	heap.Push(&d.jobs, j)
}

// dispatch starts what is due while there is room, until close.
func (d *deliveries) dispatch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := d.startDue()
		timer.Reset(wait)
		select {
		case <-d.ctx.Done():
			return
		case <-d.wake:
		case <-timer.C:
		}
	}
}

// startDue starts deliveries and returns how long nothing more can start by itself.
func (d *deliveries) startDue() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.jobs) > 0 && d.flying < d.sim.cfg.DeliveryConcurrency {
		if wait := time.Until(d.jobs[0].due); wait > 0 {
			return wait
		}
		j := heap.Pop(&d.jobs).(*job)
		i := slices.IndexFunc(d.endpoints, func(w *WebhookEndpoint) bool { return w.ID == j.endpoint })
		if i < 0 {
			j.giveUp()
			d.finished()
			continue
		}
		d.flying++
		url, secrets := d.endpoints[i].URL, d.endpoints[i].Secrets
		d.loop.Go(func() { d.deliver(j, url, secrets) })
	}
	return time.Hour
}

// deliver makes one attempt and books the next if it must.
func (d *deliveries) deliver(j *job, url string, secrets []string) {
	a := Attempt{
		Event: j.event.id, Type: j.event.kind, Endpoint: j.endpoint, Number: j.attempt,
		Duplicate: j.duplicate, Time: time.Now(),
	}
	status, err := d.post(j.event.body(), url, secrets)
	a.Status = status
	if err != nil {
		a.Error = err.Error()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flying--
	if len(d.attempts) == d.sim.cfg.LogSize {
		d.attempts = slices.Delete(d.attempts, 0, len(d.attempts)/4+1)
	}
	d.attempts = append(d.attempts, a)
	if d.ctx.Err() == nil {
		d.settle(j, err == nil)
	}
	d.signal()
}

// settle ends a job or books its next attempt. A duplicate gets one attempt only.
func (d *deliveries) settle(j *job, ok bool) {
	switch waits := retryWaits(j.event.world.scope.live); {
	case ok:
		if !j.done {
			j.done = true
			j.event.pending.Add(-1)
		}
	case j.duplicate:
	case j.attempt > len(waits):
		j.giveUp()
	default:
		jitter := 0.9 + 0.2*chance(d.sim.cfg.Seed, "retry", j.event.id, j.endpoint, fmt.Sprint(j.attempt)).Float64()
		next := *j
		next.due = time.Now().Add(time.Duration(float64(waits[j.attempt-1]) * jitter / d.sim.cfg.RetryFactor))
		next.attempt++
		d.push(&next)
	}
	d.finished()
}

// giveUp records that no more attempts follow.
func (j *job) giveUp() {
	if !j.done && !j.duplicate {
		j.done = true
		j.event.pending.Add(-1)
		j.event.failed.Add(1)
	}
}

func (d *deliveries) finished() {
	d.open--
	if d.open == 0 && d.quiet != nil {
		close(d.quiet)
		d.quiet = nil
	}
}

// post signs and sends one body. Only a 2xx within the timeout is success.
func (d *deliveries) post(body []byte, url string, secrets []string) (int, error) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("Stripe-Signature", Sign(body, time.Now(), secrets...))
	resp, err := d.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	// The body does not matter, but reading it lets the connection be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp.StatusCode, fmt.Errorf("answered %s", resp.Status)
	}
	return resp.StatusCode, nil
}

// Quiet waits until every delivery is over: taken, given up or dropped. An endpoint that
// keeps failing keeps it waiting for its retries.
func (s *Sim) Quiet(ctx context.Context) error {
	d := s.deliveries
	d.mu.Lock()
	if d.open == 0 {
		d.mu.Unlock()
		return nil
	}
	if d.quiet == nil {
		d.quiet = make(chan struct{})
	}
	quiet, open := d.quiet, d.open
	d.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-d.ctx.Done():
		return fmt.Errorf("wait for %d deliveries: the simulator was closed", open)
	case <-ctx.Done():
		return fmt.Errorf("wait for %d deliveries: %w", open, ctx.Err())
	}
}

// Waiting is how many deliveries are not over yet: due, under way, or to be tried again.
func (s *Sim) Waiting() int {
	s.deliveries.mu.Lock()
	defer s.deliveries.mu.Unlock()
	return s.deliveries.open
}

// Attempts are the latest webhook requests in the order they ended, [Config.LogSize] at
// most.
func (s *Sim) Attempts() []Attempt {
	s.deliveries.mu.Lock()
	defer s.deliveries.mu.Unlock()
	return slices.Clone(s.deliveries.attempts)
}

// jobHeap orders by due time; among jobs due together the seeded key decides.
type jobHeap []*job

func (h jobHeap) Len() int { return len(h) }
func (h jobHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].key < h[j].key
}
func (h jobHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *jobHeap) Push(x any)   { *h = append(*h, x.(*job)) }
func (h *jobHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
