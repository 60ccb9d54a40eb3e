package stripesim

import (
	"net/http"
	"slices"

	"entitled/stripesim/internal/wire"
)

// maxTypes is Stripe's limit on the event types in one request.
const maxTypes = 20

func (v view) listEvents(q *query) (any, *apiError) {
	kinds := q.many["types"]
	if len(kinds) > maxTypes {
		return nil, badParam("", "types", "You may only specify up to 20 event types.")
	}
	if one, ok := q.one["type"]; ok {
		if kinds != nil {
			return nil, badParam("", "type", "You may pass either `type` or `types`, but not both.")
		}
		kinds = []string{one}
	}
	if err := q.oneOf("delivery_success", "true", "false"); err != nil {
		return nil, err
	}
	stamp, oldest := v.w.sim.stamp(), v.w.sim.Now().Unix()-retention
	visible := func(e *event) bool { return e.created >= oldest && e.visibleAt <= stamp }
	page, more, err := pageOf(v.w.events.list, q, func(id string) (*place, bool) {
		e := v.w.events.byID[id]
		if e == nil || !visible(e) {
			return nil, false
		}
		return &e.place, true
	}, "event", func(e *event) bool {
		if !visible(e) || kinds != nil && !matchType(kinds, e.kind) {
			return false
		}
		switch q.one["delivery_success"] {
		case "true":
			return e.pending.Load() == 0 && e.failed.Load() == 0
		case "false":
			return e.pending.Load() > 0 || e.failed.Load() > 0
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	data := make([]*wire.Event, len(page))
	for i, e := range page {
		data[i] = e.wire()
	}
	return &wire.List{Object: "list", Data: slices.Clip(data), HasMore: more, URL: "/v1/events"}, nil
}

func (v view) getEvent(q *query) (any, *apiError) {
	e := v.w.events.byID[q.id]
	if e == nil || e.created < v.w.sim.Now().Unix()-retention || e.visibleAt > v.w.sim.stamp() {
		return nil, missing(http.StatusNotFound, "event", q.id, "id")
	}
	return e.wire(), nil
}
