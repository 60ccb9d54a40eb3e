package stripesim

import (
	"net/http"
	"strings"
)

// endpoint is one named operation of the API. Stripe limits rates per operation, all ids
// together.
type endpoint struct {
	name       string
	permission string
	params     params
	object     string // what expand paths start from
	list       bool
	read       func(v view, q *query) (any, *apiError)
	// customer names the customer a request is about, for the log and for faults.
	customer func(w *world, q *query) string
}

// endpoints is the part of the API that is served, by path with :id for the id.
func endpoints() map[string]*endpoint {
	byParam := func(_ *world, q *query) string { return q.one["customer"] }
	nobody := func(*world, *query) string { return "" }
	table := []*endpoint{
		{
			name: "GET /v1/subscriptions", permission: "rak_subscription_read", object: "list:subscription", list: true,
			params: params{"customer": scalar, "status": scalar, "price": scalar, "plan": scalar, "created": span,
				"current_period_start": span, "current_period_end": span, "collection_method": scalar}.paged(),
			read: view.listSubscriptions, customer: byParam,
		},
		{
			name: "GET /v1/subscriptions/:id", permission: "rak_subscription_read", object: "subscription",
			read: view.getSubscription, customer: func(w *world, q *query) string { return w.ownerOf(q.id) },
		},
		{
			name: "GET /v1/subscription_items", permission: "rak_subscription_read", object: "list:subscription_item", list: true,
			params: params{"subscription": scalar}.paged(), read: view.listItems,
			customer: func(w *world, q *query) string { return w.ownerOf(q.one["subscription"]) },
		},
		{
			name: "GET /v1/customers", permission: "rak_customer_read", object: "list:customer", list: true,
			params: params{"email": scalar, "created": span}.paged(), read: view.listCustomers, customer: nobody,
		},
		{
			name: "GET /v1/customers/:id", permission: "rak_customer_read", object: "customer",
			read: view.getCustomer, customer: func(_ *world, q *query) string { return q.id },
		},
		{
			name: "GET /v1/entitlements/active_entitlements", permission: "rak_entitlement_read", object: "list:entitlement",
			list: true, params: params{"customer": scalar}.paged(), read: view.listEntitlements, customer: byParam,
		},
		{
			name: "GET /v1/products", permission: "rak_product_read", object: "list:product", list: true,
			params: params{"active": scalar, "created": span, "ids": list}.paged(), read: view.listProducts, customer: nobody,
		},
		{
			name: "GET /v1/products/:id", permission: "rak_product_read", object: "product",
			read: view.getProduct, customer: nobody,
		},
		{
			name: "GET /v1/prices", permission: "rak_plan_read", object: "list:price", list: true,
			params: params{"active": scalar, "created": span, "product": scalar, "lookup_keys": list, "currency": scalar,
				"type": scalar}.paged(),
			read: view.listPrices, customer: nobody,
		},
		{
			name: "GET /v1/prices/:id", permission: "rak_plan_read", object: "price",
			read: view.getPrice, customer: nobody,
		},
		{
			name: "GET /v1/events", permission: "rak_event_read", object: "list:event", list: true,
			params: params{"type": scalar, "types": list, "created": span, "delivery_success": scalar}.paged(),
			read:   view.listEvents, customer: nobody,
		},
		{
			name: "GET /v1/events/:id", permission: "rak_event_read", object: "event",
			read: view.getEvent, customer: nobody,
		},
		{
			name: "GET /v1/account", permission: "rak_accounts_kyc_basic_read", object: "account",
			read: view.getAccount, customer: nobody,
		},
	}
	byName := make(map[string]*endpoint, len(table))
	for _, e := range table {
		byName[strings.TrimPrefix(e.name, "GET ")] = e
	}
	return byName
}

// route finds the operation of a request and the id in its path.
func (s *Sim) route(r *http.Request) (*endpoint, string, *apiError) {
	if r.Method == http.MethodGet {
		path := strings.TrimSuffix(r.URL.Path, "/")
		if e := s.endpoints[path]; e != nil {
			return e, "", nil
		}
		if cut := strings.LastIndexByte(path, '/'); cut > 0 {
			if e := s.endpoints[path[:cut]+"/:id"]; e != nil {
				return e, path[cut+1:], nil
			}
		}
	}
	return nil, "", &apiError{
		status: http.StatusNotFound, Type: typeInvalid,
		Message: "Unrecognized request URL (" + r.Method + ": " + r.URL.Path + "). Please see https://stripe.com/docs " +
			"or we can help at https://support.stripe.com/.",
	}
}

func (w *world) ownerOf(sub string) string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if rec := w.subs[sub]; rec != nil {
		return rec.owner.id
	}
	return ""
}
