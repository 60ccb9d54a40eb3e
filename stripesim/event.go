package stripesim

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"entitled/stripesim/internal/ids"
	"entitled/stripesim/internal/wire"
)

// retention is how long GET /v1/events lists an event, in seconds of the simulator's clock.
const retention = 30 * 86400

// event is one generated event. Its data is rendered once, when it is emitted.
type event struct {
	place
	world     *world
	kind      string
	request   string
	key       string // the Idempotency-Key of the request
	data      json.RawMessage
	visibleAt int64  // stamp from which GET /v1/events lists it
	raw       []byte // the body of InjectRaw, nil otherwise

	// pending counts the endpoints that have not accepted the event yet, failed those that
	// never will: no attempt follows.
	pending, failed atomic.Int64
}

// eventLog is an account's events, oldest first.
type eventLog struct {
	list []*event
	byID map[string]*event
}

func (l *eventLog) add(e *event, keep int) {
	l.list = append(l.list, e)
	l.byID[e.id] = e
	if len(l.list) > keep+keep/4+1 {
		drop := len(l.list) - keep
		for _, old := range l.list[:drop] {
			delete(l.byID, old.id)
		}
		l.list = slices.Clone(l.list[drop:])
	}
}

// emit generates an event about object; prev is its previous_attributes and may be nil.
func (t *tx) emit(kind string, object any, prev map[string]any) {
	if t.silent || t.loading {
		return
	}
	id := ids.New(t.rng, "evt_1", 23)
	f := t.sim.faults.Load()
	luck := ids.Chance(t.sim.cfg.Seed, "event", id)
	if f.neverGenerated(kind) && luck.Float64() < f.NeverGenerated {
		return
	}
	raw := wire.MustJSON(object)
	if luck.Float64() < f.CustomerObject {
		raw = t.expandCustomer(raw)
	}
	data := struct {
		Object   json.RawMessage `json:"object"`
		Previous map[string]any  `json:"previous_attributes,omitempty"`
	}{raw, prev}
	e := &event{
		place: t.place(id, t.listed), world: t.world, kind: kind, request: t.request, key: t.key,
		data: wire.MustJSON(data), visibleAt: t.stamp + int64(f.EventsLag.draw(luck)),
	}
	t.events.add(e, t.sim.cfg.KeepEvents)
	t.batch = append(t.batch, e)
}

// emitUpdate emits an event with the differing fields as previous_attributes, or no event if before
// and after are equal.
func (t *tx) emitUpdate(kind string, before, after any) {
	if t.silent || t.loading {
		return
	}
	if prev := wire.Difference(before, after); len(prev) > 0 {
		t.emit(kind, after, prev)
	}
}

// expandCustomer replaces the customer's id in raw by the customer object.
func (t *tx) expandCustomer(raw json.RawMessage) json.RawMessage {
	var m map[string]any
	if json.Unmarshal(raw, &m) != nil {
		return raw
	}
	id, _ := m["customer"].(string)
	rec := t.custs[id]
	if rec == nil {
		return raw
	}
	m["customer"] = t.wireCustomer(rec.get())
	return wire.MustJSON(m)
}

// Emit generates an event of any type about any JSON object. The event is listed, signed and
// delivered like every other; id is empty if [Faults].NeverGenerated or [Account.Silent] suppressed
// it.
func (a *Account) Emit(eventType string, object json.RawMessage) (id string, err error) {
	err = a.step(func(t *tx) error {
		var compact bytes.Buffer
		if err := json.Compact(&compact, object); err != nil {
			return err
		}
		t.emit(eventType, json.RawMessage(compact.Bytes()), nil)
		if n := len(t.batch); n > 0 {
			id = t.batch[n-1].id
		}
		return nil
	})
	return id, err
}

// InjectRaw signs any bytes and delivers them to the endpoints of this account that take all event
// types. GET /v1/events does not list them. It serves tests of webhook handlers: thin events,
// bodies that are not JSON.
func (a *Account) InjectRaw(body []byte) {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &event{place: w.place(ids.New(w.rng, "raw_", 14), w.sim.Now().Unix()), world: w, raw: slices.Clone(body)}
	w.sim.deliveries.enqueue(w, []*event{e})
}

// Redeliver sends an event again to every endpoint that takes its type, like "Resend" in Stripe's
// dashboard. It returns false if the event is unknown.
func (a *Account) Redeliver(eventID string) bool {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.events.byID[eventID]
	if e == nil {
		return false
	}
	w.sim.deliveries.enqueue(w, []*event{e})
	return true
}

// EventInfo describes one event.
type EventInfo struct {
	ID, Type string
	Created  time.Time       // on the simulator's clock
	Data     json.RawMessage // {"object":…, "previous_attributes":…}
	// Pending counts the endpoints that have not accepted the event yet, Failed those that never
	// did: no attempt follows.
	Pending, Failed int
}

// Events returns the account's latest events, oldest first, at most about [Config.KeepEvents].
// Faults do not hide any.
func (a *Account) Events() []EventInfo {
	a.w.mu.RLock()
	defer a.w.mu.RUnlock()
	out := make([]EventInfo, 0, len(a.w.events.list))
	for _, e := range a.w.events.list {
		out = append(out, EventInfo{
			ID: e.id, Type: e.kind, Created: time.Unix(e.created, 0), Data: e.data,
			Pending: int(e.pending.Load()), Failed: int(e.failed.Load()),
		})
	}
	return out
}

func (e *event) wire() *wire.Event {
	out := &wire.Event{
		ID: e.id, Object: "event", APIVersion: e.world.sim.cfg.APIVersion, Created: e.created,
		Data: e.data, Livemode: e.world.scope.live, Pending: e.pending.Load(),
		Request: wire.EventRequest{ID: wire.StrOrNull(e.request), IdempotencyKey: wire.StrOrNull(e.key)}, Type: e.kind,
	}
	if e.world.scope.account != e.world.sim.cfg.AccountID {
		out.Account = e.world.scope.account
	}
	return out
}

// body returns a webhook's body, indented by two spaces as Stripe's bodies are.
func (e *event) body() []byte {
	if e.raw != nil {
		return e.raw
	}
	var pretty bytes.Buffer
	// Indent cannot fail: mustJSON returns valid JSON.
	_ = json.Indent(&pretty, wire.MustJSON(e.wire()), "", "  ")
	return pretty.Bytes()
}

// matchType reports whether a pattern matches an event type: "*", "prefix.*" or the type itself.
func matchType(patterns []string, kind string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, open := strings.CutSuffix(p, "*")
		return p == kind || open && strings.HasPrefix(kind, prefix)
	})
}
