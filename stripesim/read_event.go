package stripesim

import (
	"net/http"
	"slices"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/wire"
)

// maxTypes is Stripe's limit on the event types in one request.
const maxTypes = 20

func (v view) listEvents(q *api.Query) (any, *api.Error) {
	kinds := q.Many["types"]
	if len(kinds) > maxTypes {
		return nil, api.BadParam("", "types", "You may only specify up to 20 event types.")
	}
	if one, ok := q.One["type"]; ok {
		if kinds != nil {
			return nil, api.BadParam("", "type", "You may pass either `type` or `types`, but not both.")
		}
		kinds = []string{one}
	}
	if err := q.OneOf("delivery_success", "true", "false"); err != nil {
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
		switch q.One["delivery_success"] {
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

func (v view) getEvent(q *api.Query) (any, *api.Error) {
	e := v.w.events.byID[q.ID]
	if e == nil || e.created < v.w.sim.Now().Unix()-retention || e.visibleAt > v.w.sim.stamp() {
		return nil, api.Missing(http.StatusNotFound, "event", q.ID, "id")
	}
	return e.wire(), nil
}
