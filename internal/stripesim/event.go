package stripesim

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// retention is how long GET /v1/events tells of an event, in seconds of the simulator's
// clock.
const retention = 30 * 86400

// event is one generated event. Its data is rendered when it is emitted and never again.
type event struct {
	place
	world     *world
	kind      string
	request   string
	data      json.RawMessage
	visibleAt int64 // wall stamp from which GET /v1/events knows it
	raw       []byte

	// pending and failed count endpoints that have not taken the event yet, and those
	// that Stripe gave up on.
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

// emit generates an event about object. prev is previous_attributes, nil for none.
func (t *tx) emit(kind string, object any, prev map[string]any) {
	if t.silent || t.loading {
		return
	}
	id := newID(t.rng, "evt_1", 23)
	f := t.sim.faults.Load()
	luck := chance(t.sim.cfg.Seed, "event", id)
	if f.neverGenerated(kind) && luck.Float64() < f.NeverGenerated {
		return
	}
	raw := mustJSON(object)
	if luck.Float64() < f.CustomerObject {
		raw = t.expandCustomer(raw)
	}
	data := struct {
		Object   json.RawMessage `json:"object"`
		Previous map[string]any  `json:"previous_attributes,omitempty"`
	}{raw, prev}
	e := &event{
		place: t.place(id, t.now), world: t.world, kind: kind, request: t.request,
		data: mustJSON(data), visibleAt: t.stamp + int64(f.EventsLag.draw(luck)),
	}
	t.events.add(e, t.sim.cfg.KeepEvents)
	t.batch = append(t.batch, e)
}

// emitUpdate emits an event whose previous_attributes are what differs, and nothing when
// nothing does.
func (t *tx) emitUpdate(kind string, before, after any) {
	if t.silent || t.loading {
		return
	}
	if prev := difference(before, after); len(prev) > 0 {
		t.emit(kind, after, prev)
	}
}

// expandCustomer puts the customer object in the place of its id.
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
	return mustJSON(m)
}

// Emit generates an event of any type about any JSON object, as Stripe would: it is
// listed, signed and delivered.
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

// InjectRaw signs and delivers body, whatever it is, to the endpoints that get all of
// this account's events. GET /v1/events does not know it.
func (a *Account) InjectRaw(body []byte) {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &event{place: w.place(newID(w.rng, "raw_", 14), w.sim.Now().Unix()), world: w, raw: slices.Clone(body)}
	w.sim.deliveries.enqueue(w, []*event{e})
}

// Redeliver sends an event once more to every endpoint that wants it, as the dashboard's
// resend does.
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

// EventInfo is one event in short.
type EventInfo struct {
	ID, Type string
	Created  time.Time
	Data     json.RawMessage // {"object":…, "previous_attributes":…}
	// Pending endpoints have not taken it yet; on Failed ones the sender gave up.
	Pending, Failed int
}

// Events are the account's remembered events, oldest first, whatever GET /v1/events says.
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

// eventJSON is the envelope, in API answers and webhook bodies alike.
type eventJSON struct {
	ID         string          `json:"id"`
	Object     string          `json:"object"`
	Account    string          `json:"account,omitempty"`
	APIVersion string          `json:"api_version"`
	Created    int64           `json:"created"`
	Data       json.RawMessage `json:"data"`
	Livemode   bool            `json:"livemode"`
	Pending    int64           `json:"pending_webhooks"`
	Request    eventRequest    `json:"request"`
	Type       string          `json:"type"`
}

type eventRequest struct {
	ID             *string `json:"id"`
	IdempotencyKey *string `json:"idempotency_key"`
}

func (e *event) wire() *eventJSON {
	out := &eventJSON{
		ID: e.id, Object: "event", APIVersion: e.world.sim.cfg.APIVersion, Created: e.created,
		Data: e.data, Livemode: e.world.scope.live, Pending: e.pending.Load(),
		Request: eventRequest{ID: strOrNull(e.request)}, Type: e.kind,
	}
	if e.world.scope.account != e.world.sim.cfg.AccountID {
		out.Account = e.world.scope.account
	}
	return out
}

// body is what a webhook carries: pretty-printed with two spaces, as Stripe's are.
func (e *event) body() []byte {
	if e.raw != nil {
		return e.raw
	}
	var pretty bytes.Buffer
	// Indenting what mustJSON made cannot fail.
	_ = json.Indent(&pretty, mustJSON(e.wire()), "", "  ")
	return pretty.Bytes()
}

// matchType tells whether an event type is covered by "*", a "prefix.*" or itself.
func matchType(patterns []string, kind string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, open := strings.CutSuffix(p, "*")
		return p == kind || open && strings.HasPrefix(kind, prefix)
	})
}

// mustJSON renders the simulator's own types, which always can be.
func mustJSON(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("stripesim: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
