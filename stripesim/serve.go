package stripesim

import (
	"context"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/wire"
)

// call is one request in flight.
type call struct {
	*Request
	world    *world
	key      *Key
	endpoint *endpoint
	query    *api.Query
}

// ServeHTTP serves Stripe's API under /v1/ and [AdminAPI] under /_sim/.
func (s *Sim) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, adminPrefix) {
		s.admin.ServeHTTP(rw, r)
		return
	}
	req := &Request{
		ID: s.draw.id("req_", 14), Time: time.Now(), Method: r.Method, Path: r.URL.Path,
		Account: r.Header.Get("Stripe-Account"), Version: s.cfg.APIVersion,
	}
	if req.Account == s.cfg.AccountID {
		req.Account = ""
	}
	s.log.begin(req.Time)
	a := s.answer(r, req)
	if a.Status == 0 && !a.Reset {
		a.Status = http.StatusOK
	}
	req.Status, req.Duration = a.Status, time.Since(req.Time)
	s.log.end(req)
	a.write(rw, req)
}

// answer returns the answer to a request. In this order it checks the key and the parameters, the
// rate limits, the interceptors and the faults, and then reads the state.
func (s *Sim) answer(r *http.Request, req *Request) *Answer {
	c := &call{Request: req}
	if err := s.identify(r, c); err != nil {
		return fail(err)
	}
	faults := s.faults.Load()
	if reason := s.limits.enter(faults.Limits, c.Livemode, c.Endpoint); reason != "" {
		return fail(api.RateLimited(reason))
	}
	defer s.limits.leave(c.Livemode)
	if a := s.hooks.intercept(c.Request); a != nil {
		return a
	}
	if !faults.covers(c.Endpoint) {
		faults = &Faults{}
	}
	if c.endpoint.write != nil {
		return s.write(r.Context(), c, faults)
	}
	if a := faults.strike(s, c.Request); a != nil {
		return a
	}
	return s.read(r.Context(), c, faults)
}

var versionForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(\.[a-z_]+)?$`)

// identify sets the key, account, operation and parameters of a call, and checks the permission.
func (s *Sim) identify(r *http.Request, c *call) (err *api.Error) {
	if c.key, c.Livemode, err = s.authenticate(r); err != nil {
		return err
	}
	account := s.cfg.AccountID
	if c.Account != "" {
		account = c.Account
	}
	var known bool
	if c.world, known = s.connected(account, c.Livemode); !known {
		return accountInvalid(c.key, account)
	}
	var id string
	if c.endpoint, id, err = s.route(r); err != nil {
		return err
	}
	c.Endpoint = c.endpoint.name
	if v := r.Header.Get("Stripe-Version"); v != "" {
		if !versionForm.MatchString(v) {
			return api.BadParam("", "", "Invalid Stripe API version: %s", v)
		}
		c.Version = v
	}
	if !c.key.may(c.endpoint.permission) {
		return forbidden(c.key, account, c.endpoint.permission)
	}
	if err := c.parse(r); err != nil {
		return err
	}
	c.query.ID = id
	c.Customer = c.endpoint.customer(c.world, c.query)
	c.query.Expand, err = api.ParseExpand(c.query.Many["expand"], c.endpoint.object, c.key.may,
		func(permission string) *api.Error { return forbidden(c.key, account, permission) })
	return err
}

// parse reads and checks the parameters, which a write has in its body.
func (c *call) parse(r *http.Request) (err *api.Error) {
	c.Query = r.URL.Query()
	if c.endpoint.write == nil {
		c.query, err = api.ParseQuery(c.Query, c.endpoint.params)
		return err
	}
	c.IdempotencyKey = r.Header.Get("Idempotency-Key")
	r.Body = http.MaxBytesReader(nil, r.Body, 1<<20)
	if r.ParseForm() != nil {
		return api.BadParam("", "", "Invalid request: the body is not a form.")
	}
	if c.Query = r.Form; r.Method == http.MethodPost {
		c.Query = r.PostForm
	}
	if c.query, err = api.ParseForm(c.Query, c.endpoint.fields); err == nil {
		c.query.Base = "http://" + r.Host
	}
	return err
}

// read reads the state at one instant, with the delays of the faults before and after it.
func (s *Sim) read(ctx context.Context, c *call, f *Faults) *Answer {
	before, after := s.latency(f)
	if !pause(ctx, before) {
		return &Answer{Reset: true}
	}
	v := view{w: c.world, at: now, basil: basil(c.Version)}
	if c.endpoint.list && !f.ReadLag.zero() {
		v.at = max(s.stamp()-int64(min(f.ReadLag.at(s.draw.float()), time.Duration(historyKept))), 0)
	}
	c.world.mu.RLock()
	object, err := c.endpoint.read(v, c.query)
	c.world.mu.RUnlock()
	var a *Answer
	if err != nil {
		a = fail(err)
	} else {
		a = &Answer{Status: http.StatusOK, Body: wire.MustJSON(object)}
	}
	s.hooks.hold(ctx, c.Request)
	if !pause(ctx, after) {
		return &Answer{Reset: true}
	}
	if f.Truncate > 0 && s.draw.float() < f.Truncate {
		a.truncated = true
	}
	return a
}

// latency draws the delays of a request before and after its state is read.
func (s *Sim) latency(f *Faults) (before, after time.Duration) {
	if f.SlowReads > 0 && s.draw.float() < f.SlowReads {
		return 0, f.SlowRead.at(s.draw.float())
	}
	if f.Latency.zero() {
		return 0, 0
	}
	d := f.Latency.at(s.draw.float())
	before = time.Duration(s.draw.float() * float64(d))
	return before, d - before
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *Answer) write(rw http.ResponseWriter, req *Request) {
	if a.Reset {
		reset(rw)
		return
	}
	h := rw.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Request-Id", req.ID)
	h.Set("Stripe-Version", req.Version)
	h.Set("Cache-Control", "no-cache, no-store")
	if req.Account != "" {
		h.Set("Stripe-Account", req.Account)
	}
	for k, v := range a.Header {
		h[k] = v
	}
	body := a.Body
	if a.truncated {
		body = body[:len(body)/2]
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	rw.WriteHeader(a.Status)
	// Ignore the error: the client has disconnected.
	_, _ = rw.Write(body)
}

// reset closes the connection so that the client gets a TCP reset.
func reset(rw http.ResponseWriter) {
	hijacker, ok := rw.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		// Linger 0 turns the close into a reset. If it fails, the connection is closed anyway.
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
