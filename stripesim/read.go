package stripesim

import (
	"net/http"
	"slices"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/wire"
)

// The functions below are the reads of the endpoints. Each runs under the world's lock, so an
// answer is the state at one instant.

func (v view) listSubscriptions(q *api.Query) (any, *api.Error) {
	statuses := []string{StatusActive, StatusPastDue, StatusUnpaid, StatusCanceled, StatusIncomplete,
		StatusIncompleteExpired, StatusTrialing, StatusPaused, "all", "ended"}
	if err := q.OneOf("status", statuses...); err != nil {
		return nil, err
	}
	if err := q.OneOf("collection_method", "charge_automatically", "send_invoice"); err != nil {
		return nil, err
	}
	all := v.w.subList
	if id, ok := q.One["customer"]; ok {
		rec := v.w.custs[id]
		if rec == nil {
			return nil, api.Missing(http.StatusBadRequest, "customer", id, "customer")
		}
		all = rec.subs
		if c := rec.asOf(v.at); c != nil && c.Deleted && !v.w.sim.cfg.ListDeletedCustomers {
			all = nil
		}
	}
	for _, param := range []string{"price", "plan"} {
		if id, ok := q.One[param]; ok && v.w.prices[id] == nil {
			return nil, api.Missing(http.StatusBadRequest, param, id, param)
		}
	}
	page, more, err := pageOf(all, q, v.subPlace, "subscription", func(rec *subRecord) bool {
		s := rec.asOf(v.at)
		return s != nil && s.matches(q)
	})
	if err != nil {
		return nil, err
	}
	data := make([]*wire.Subscription, len(page))
	for i, rec := range page {
		data[i] = v.subscription(rec.asOf(v.at), q.Expand.Of("data"))
	}
	return &wire.List{Object: "list", Data: data, HasMore: more, URL: "/v1/subscriptions"}, nil
}

func (s *Subscription) matches(q *api.Query) bool {
	switch status := q.One["status"]; status {
	case "all":
	case "":
		if s.ended() {
			return false
		}
	case "ended":
		if !s.ended() {
			return false
		}
	default:
		if s.Status != status {
			return false
		}
	}
	for _, param := range []string{"price", "plan"} {
		if id, ok := q.One[param]; ok && !slices.ContainsFunc(s.Items, func(it Item) bool { return it.Price == id }) {
			return false
		}
	}
	return q.One["collection_method"] != "send_invoice" &&
		q.Span("current_period_start").Has(s.CurrentPeriodStart) &&
		q.Span("current_period_end").Has(s.CurrentPeriodEnd)
}

func (v view) subPlace(id string) (*place, bool) {
	rec := v.w.subs[id]
	if rec == nil {
		return nil, false
	}
	return &rec.place, true
}

func (v view) getSubscription(q *api.Query) (any, *api.Error) {
	rec := v.w.subs[q.ID]
	if rec == nil {
		return nil, api.Missing(http.StatusNotFound, "subscription", q.ID, "id")
	}
	return v.subscription(rec.asOf(v.at), q.Expand), nil
}

func (v view) listItems(q *api.Query) (any, *api.Error) {
	id, ok := q.One["subscription"]
	if !ok {
		return nil, api.BadParam("parameter_missing", "subscription", "Missing required param: subscription.")
	}
	rec := v.w.subs[id]
	if rec == nil {
		return nil, api.Missing(http.StatusBadRequest, "subscription", id, "subscription")
	}
	data := []*wire.Item{}
	list := &wire.List{Object: "list", URL: "/v1/subscription_items"}
	if s := rec.asOf(v.at); s != nil {
		page, more, err := pageOfSlice(s.Items, q, func(it *Item) string { return it.ID }, "subscription item")
		if err != nil {
			return nil, err
		}
		for i := range page {
			data = append(data, v.item(s, &page[i], q.Expand.Of("data")))
		}
		list.HasMore = more
	}
	list.Data = data
	return list, nil
}

func (v view) listCustomers(q *api.Query) (any, *api.Error) {
	page, more, err := pageOf(v.w.custList, q, func(id string) (*place, bool) {
		rec := v.w.custs[id]
		if rec == nil {
			return nil, false
		}
		return &rec.place, true
	}, "customer", func(rec *custRecord) bool {
		c := rec.asOf(v.at)
		email, byEmail := q.One["email"]
		return c != nil && !c.Deleted && (!byEmail || c.Email == email)
	})
	if err != nil {
		return nil, err
	}
	data := make([]any, len(page))
	for i, rec := range page {
		data[i] = v.customer(rec.asOf(v.at), q.Expand.Of("data"))
	}
	return &wire.List{Object: "list", Data: data, HasMore: more, URL: "/v1/customers"}, nil
}

func (v view) getCustomer(q *api.Query) (any, *api.Error) {
	rec := v.w.custs[q.ID]
	if rec == nil {
		return nil, api.Missing(http.StatusNotFound, "customer", q.ID, "id")
	}
	return v.customer(rec.asOf(v.at), q.Expand), nil
}

func (v view) listEntitlements(q *api.Query) (any, *api.Error) {
	id, ok := q.One["customer"]
	if !ok {
		return nil, api.BadParam("parameter_missing", "customer", "Missing required param: customer.")
	}
	rec := v.w.custs[id]
	if rec == nil {
		return nil, api.Missing(http.StatusBadRequest, "customer", id, "customer")
	}
	data := []*wire.Entitlement{}
	list := &wire.List{Object: "list", URL: "/v1/entitlements/active_entitlements"}
	if c := rec.asOf(v.at); c != nil {
		id := func(e *activeEntitlement) string { return e.id }
		page, more, err := pageOfSlice(c.entitlements, q, id, "active entitlement")
		if err != nil {
			return nil, err
		}
		for i := range page {
			data = append(data, v.entitlement(&page[i], q.Expand.Of("data")))
		}
		list.HasMore = more
	}
	list.Data = data
	return list, nil
}

// listFeatures lists every feature that a product has had: no feature is ever archived.
func (v view) listFeatures(q *api.Query) (any, *api.Error) {
	if err := q.OneOf("archived", "true", "false"); err != nil {
		return nil, err
	}
	there := slices.DeleteFunc(slices.Clone(v.w.features), func(f *feature) bool {
		key, byKey := q.One["lookup_key"]
		return f.stamp > v.at || byKey && f.LookupKey != key || q.One["archived"] == "true"
	})
	page, more, err := pageOfSlice(there, q, func(f **feature) string { return (*f).ID }, "feature")
	if err != nil {
		return nil, err
	}
	data := make([]*wire.Feature, len(page))
	for i, f := range page {
		data[i] = v.feature(f)
	}
	return &wire.List{Object: "list", Data: data, HasMore: more, URL: "/v1/entitlements/features"}, nil
}

func (v view) getAccount(*api.Query) (any, *api.Error) {
	return &wire.Account{
		ID: v.w.scope.account, Object: "account", ChargesEnabled: true,
		Country: "US", Currency: "usd", Type: "standard",
	}, nil
}
