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

	"entitled/stripesim/internal/ids"
)

// Attempt is one webhook request that the simulator sent.
type Attempt struct {
	Event     string    `json:"event"`               // the event's id
	Type      string    `json:"type"`                // the event's type; "" for [Account.InjectRaw]
	Endpoint  string    `json:"endpoint"`            // the id of the [WebhookEndpoint]
	Number    int       `json:"number"`              // 1 for the first attempt
	Duplicate bool      `json:"duplicate,omitempty"` // sent by [Faults].WebhookDuplicate
	Time      time.Time `json:"time"`                // wall clock, when it was sent
	Status    int       `json:"status"`              // the HTTP status; 0 means no answer
	Error     string    `json:"error,omitempty"`     // why it failed; "" for a 2xx
}

// deliveries sends events to endpoints, at most DeliveryConcurrency at a time. The seed decides the
// order of deliveries that are due together. A delivery is retried until the endpoint answers 2xx
// or the attempts are used up.
type deliveries struct {
	sim    *Sim
	client *http.Client
	ctx    context.Context // cancelled by close, which ends requests in flight
	cancel context.CancelFunc
	loop   sync.WaitGroup // the dispatcher and the posts it started
	wake   chan struct{}  // holds one signal that there is a job, or room for one

	mu        sync.Mutex
	started   bool
	endpoints []*WebhookEndpoint
	jobs      jobHeap
	flying    int
	open      int           // unfinished jobs
	quiet     chan struct{} // closed when open reaches 0; nil while no [Sim.Quiet] waits
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

// delivery is the state that a job and its duplicate share. The mutex of deliveries guards done.
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

// enqueue adds the deliveries of one step's events, which are due together.
func (d *deliveries) enqueue(w *world, batch []*event) {
	f, now := d.sim.faults.Load(), time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range batch {
		for _, ep := range d.endpoints {
			if !ep.wants(e) {
				continue
			}
			luck := ids.Chance(d.sim.cfg.Seed, "delivery", e.id, ep.ID)
			if luck.Float64() < f.WebhookDrop {
				e.failed.Add(1)
				continue
			}
			e.pending.Add(1)
			shared := &delivery{event: e, endpoint: ep.ID}
			d.push(&job{delivery: shared, due: now.Add(f.WebhookDelay.draw(luck)), key: luck.Uint64(), attempt: 1})
			if luck.Float64() < f.WebhookDuplicate {
				d.push(&job{
					delivery: shared, due: now.Add(f.WebhookDelay.draw(luck)), key: luck.Uint64(),
					attempt: 1, duplicate: true,
				})
			}
		}
	}
	d.signal()
}

func (d *deliveries) push(j *job) {
	d.open++
	heap.Push(&d.jobs, j)
}

// dispatch starts due deliveries, as many as may be in flight, until close.
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

// startDue starts due deliveries and returns the time until the next one is due.
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

// deliver makes one attempt and, if it fails, schedules the next one.
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

// settle ends a job or schedules its next attempt. A duplicate has only one attempt.
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
		jitter := 0.9 + 0.2*ids.Chance(d.sim.cfg.Seed, "retry", j.event.id, j.endpoint, fmt.Sprint(j.attempt)).Float64()
		next := *j
		next.due = time.Now().Add(time.Duration(float64(waits[j.attempt-1]) * jitter / d.sim.cfg.RetryFactor))
		next.attempt++
		d.push(&next)
	}
	d.finished()
}

// giveUp records that the event was not delivered and no attempt follows.
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

// post signs and sends one body. Any answer but a 2xx within the timeout is an error.
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
	// The body does not matter; reading it lets the client reuse the connection.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp.StatusCode, fmt.Errorf("the endpoint answered %s", resp.Status)
	}
	return resp.StatusCode, nil
}

// Quiet waits until no delivery is pending: each was accepted with a 2xx or given up. If an
// endpoint keeps failing, Quiet waits for all its retries.
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

// Waiting returns the number of pending deliveries: not sent yet, in flight, or waiting for a
// retry.
func (s *Sim) Waiting() int {
	s.deliveries.mu.Lock()
	defer s.deliveries.mu.Unlock()
	return s.deliveries.open
}

// Attempts returns the latest webhook requests in the order in which they ended, at most
// [Config.LogSize].
func (s *Sim) Attempts() []Attempt {
	s.deliveries.mu.Lock()
	defer s.deliveries.mu.Unlock()
	return slices.Clone(s.deliveries.attempts)
}

// jobHeap orders jobs by due time. The seeded key orders jobs that are due together.
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
