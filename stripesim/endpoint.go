package stripesim

import (
	"net/http"
	"strings"
)

// endpoint is one operation of the API. Stripe's rate limits count per operation, whatever the id.
type endpoint struct {
	name       string
	permission string
	params     params
	object     string // where expand paths start
	list       bool
	read       func(v view, q *query) (any, *apiError)
	fields     []string // patterns of the parameters of a write: see parseForm
	write      func(t *tx, v view, q *query) (any, *apiError)
	// customer returns the id of the customer that a request reads, for the log and for faults; ""
	// if it reads no particular customer.
	customer func(w *world, q *query) string
}

// endpoints returns the operations that the simulator serves, by method and path with :id for the id.
func endpoints() map[string]*endpoint {
	byParam := func(_ *world, q *query) string { return q.one["customer"] }
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
			name: "GET /v1/subscription_items", permission: "rak_subscription_read",
			object: "list:subscription_item", list: true,
			params: params{"subscription": scalar}.paged(), read: view.listItems,
			customer: func(w *world, q *query) string { return w.ownerOf(q.one["subscription"]) },
		},
		{
			name: "GET /v1/customers", permission: "rak_customer_read", object: "list:customer", list: true,
			params: params{"email": scalar, "created": span}.paged(), read: view.listCustomers, customer: noCustomer,
		},
		{
			name: "GET /v1/customers/:id", permission: "rak_customer_read", object: "customer",
			read: view.getCustomer, customer: func(_ *world, q *query) string { return q.id },
		},
		{
			name: "GET /v1/entitlements/active_entitlements", permission: "rak_entitlement_read",
			object: "list:entitlement", list: true, params: params{"customer": scalar}.paged(),
			read: view.listEntitlements, customer: byParam,
		},
		{
			name: "GET /v1/entitlements/features", permission: "rak_entitlement_read",
			object: "list:feature", list: true, params: params{"lookup_key": scalar, "archived": scalar}.paged(),
			read: view.listFeatures, customer: noCustomer,
		},
		{
			name: "GET /v1/events", permission: "rak_event_read", object: "list:event", list: true,
			params: params{"type": scalar, "types": list, "created": span, "delivery_success": scalar}.paged(),
			read:   view.listEvents, customer: noCustomer,
		},
		{
			name: "GET /v1/events/:id", permission: "rak_event_read", object: "event",
			read: view.getEvent, customer: noCustomer,
		},
		{
			name: "GET /v1/account", permission: "rak_accounts_kyc_basic_read", object: "account",
			read: view.getAccount, customer: noCustomer,
		},
	}
	table = append(table, catalogEndpoints()...)
	table = append(table, customerWrites()...)
	byName := make(map[string]*endpoint, len(table))
	for _, e := range table {
		byName[e.name] = e
	}
	return byName
}

func noCustomer(*world, *query) string { return "" }

// catalogEndpoints returns the operations on products and prices.
func catalogEndpoints() []*endpoint {
	return []*endpoint{
		{
			name: "GET /v1/products", permission: "rak_product_read", object: "list:product", list: true,
			params: params{"active": scalar, "created": span, "ids": list}.paged(),
			read:   view.listProducts, customer: noCustomer,
		},
		{
			name: "GET /v1/products/:id", permission: "rak_product_read", object: "product",
			read: view.getProduct, customer: noCustomer,
		},
		{
			name: "GET /v1/prices", permission: "rak_plan_read", object: "list:price", list: true,
			params: params{"active": scalar, "created": span, "product": scalar, "lookup_keys": list,
				"currency": scalar,
				"type":     scalar}.paged(),
			read: view.listPrices, customer: noCustomer,
		},
		{
			name: "GET /v1/prices/:id", permission: "rak_plan_read", object: "price",
			read: view.getPrice, customer: noCustomer,
		},
	}
}

// route returns the operation of a request and the id in its path.
func (s *Sim) route(r *http.Request) (*endpoint, string, *apiError) {
	parts := strings.Split(strings.TrimSuffix(r.URL.Path, "/"), "/")
	named := func() *endpoint { return s.endpoints[r.Method+" "+strings.Join(parts, "/")] }
	if e := named(); e != nil {
		return e, "", nil
	}
	for i := len(parts) - 1; i >= max(len(parts)-2, 0); i-- { // the id, or the id before an action
		id := parts[i]
		parts[i] = ":id"
		if e := named(); e != nil {
			return e, id, nil
		}
		parts[i] = id
	}
	return nil, "", &apiError{
		status: http.StatusNotFound, Type: typeInvalid,
		Message: "Unrecognized request URL (" + r.Method + ": " + r.URL.Path + "). Please see " +
			"https://stripe.com/docs or we can help at https://support.stripe.com/.",
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
