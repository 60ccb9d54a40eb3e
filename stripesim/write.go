package stripesim

import (
	"context"
	"fmt"
	"net/http"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/idempotency"
	"entitled/stripesim/internal/wire"
)

// write answers a request that changes the state. Under an Idempotency-Key it answers the same again
// for a day of the simulator's clock, the errors of an execution that had begun included.
func (s *Sim) write(ctx context.Context, c *call, f *Faults) *Answer {
	key, struck := c.IdempotencyKey, f.strike(s, c.Request)
	if struck != nil && struck.Status != http.StatusInternalServerError {
		return struck // before the execution, so nothing is saved
	}
	if len(key) > idempotency.MaxKey {
		return fail(api.BadParam("", "", "Idempotency keys can be up to %d characters long.", idempotency.MaxKey))
	}
	if key == "" {
		a, _ := s.execute(ctx, c, f, struck)
		return a
	}
	keys := &c.world.keys
	path := c.Method + " " + c.Path
	outcome, found := keys.Begin(key, path, c.Query.Encode(), s.Now())
	switch outcome {
	case idempotency.Replay:
		c.Replayed = true
		return &Answer{Status: found.Answer.Status, Body: found.Answer.Body, Header: http.Header{
			"Idempotent-Replayed": {"true"}, "Original-Request": {found.Answer.Request}, "Idempotency-Key": {key},
		}}
	case idempotency.InFlight:
		return fail(keyInUse(key))
	case idempotency.OtherPath, idempotency.OtherParams:
		return fail(keyMisused(key, path, found.Path, outcome == idempotency.OtherPath))
	}
	a, begun := s.execute(ctx, c, f, struck)
	if !begun {
		keys.Forget(key)
		return a
	}
	saved := *a
	if a.Reset { // only the answer was lost
		saved = Answer{Status: http.StatusOK, Body: a.Body}
	}
	keys.Save(key, idempotency.Answer{Status: saved.Status, Body: saved.Body, Request: c.ID})
	if a.Header == nil {
		a.Header = http.Header{}
	}
	a.Header["Idempotency-Key"] = []string{key}
	return a
}

// execute runs a write once, or fails with struck. begun reports whether the answer is saved under
// the key.
func (s *Sim) execute(ctx context.Context, c *call, f *Faults, struck *Answer) (a *Answer, begun bool) {
	if struck != nil {
		return struck, true
	}
	before, after := s.latency(f)
	if !pause(ctx, before) {
		return &Answer{Reset: true}, false
	}
	object, err := c.run()
	if err != nil {
		a = fail(err)
	} else {
		a = &Answer{Status: http.StatusOK, Body: wire.MustJSON(object)}
	}
	s.hooks.hold(ctx, c.Request)
	pause(ctx, after)
	lucky := func(share float64) bool { return share > 0 && s.draw.float() < share }
	switch {
	case err == nil && lucky(f.Error500After):
		a = fail(api.ServerError(http.StatusInternalServerError))
	case err == nil && lucky(f.ResetAfter):
		a.Status, a.Reset = 0, true
	case lucky(f.Truncate):
		// The saved answer is whole: a repeat under the same key gets all of it.
		a.truncated = true
	}
	return a, true
}

// run applies the change as one step and renders the object.
func (c *call) run() (any, *api.Error) {
	w := c.world
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.begin(w.sim.Clock)
	t.request, t.key = c.ID, c.IdempotencyKey
	object, err := c.endpoint.write(t, view{w: w, at: now, basil: basil(c.Version)}, c.query)
	if err != nil {
		return nil, err
	}
	t.commit()
	return object, nil
}

func keyInUse(key string) *api.Error {
	return &api.Error{
		Status: http.StatusConflict, Type: api.TypeIdempotency, Code: "idempotency_key_in_use",
		DocURL: "https://stripe.com/docs/error-codes/idempotency-key-in-use",
		Message: "There is currently another in-progress request using this Idempotent Key (that probably means you " +
			"submitted twice, and the other request is still going through): " + key +
			". Please try again later.",
	}
}

func keyMisused(key, path, first string, otherPath bool) *api.Error {
	e := &api.Error{Status: http.StatusBadRequest, Type: api.TypeIdempotency}
	if otherPath {
		e.Message = fmt.Sprintf("Keys for idempotent requests can only be used for the same endpoint they were first "+
			"used for ('%s' vs '%s'). Try using a key other than '%s' if you meant to execute a different request.",
			path, first, key)
	} else {
		e.Message = fmt.Sprintf("Keys for idempotent requests can only be used with the same parameters they were "+
			"first used with. Try using a key other than '%s' if you meant to execute a different request.", key)
	}
	return e
}
