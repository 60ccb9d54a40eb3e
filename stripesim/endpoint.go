package stripesim

import (
	"net/http"
	"strings"

	"entitled/stripesim/internal/api"
)

// endpoint is one operation of the API. Stripe's rate limits count per operation, whatever the id.
type endpoint struct {
	name       string
	permission string
	params     api.Params
	object     string // where expand paths start
	list       bool
	read       func(v view, q *api.Query) (any, *api.Error)
	fields     []string // patterns of the parameters of a write: see api.ParseForm
	write      func(t *tx, v view, q *api.Query) (any, *api.Error)
	// customer returns the id of the customer that a request reads, for the log and for faults; ""
	// if it reads no particular customer.
	customer func(w *world, q *api.Query) string
}

// endpoints returns the operations that the simulator serves, by method and path with :id for the id.
func endpoints() map[string]*endpoint {
	byParam := func(_ *world, q *api.Query) string { return q.One["customer"] }
	table := []*endpoint{
		{
			name: "GET /v1/subscriptions", permission: "rak_subscription_read",
			object: "list:subscription", list: true,
			params: api.Params{"customer": api.Scalar, "status": api.Scalar, "price": api.Scalar,
				"plan": api.Scalar, "created": api.Span,
				"current_period_start": api.Span, "current_period_end": api.Span, "collection_method": api.Scalar}.Paged(),
			read: view.listSubscriptions, customer: byParam,
		},
		{
			name: "GET /v1/subscriptions/:id", permission: "rak_subscription_read", object: "subscription",
			read: view.getSubscription, customer: func(w *world, q *api.Query) string { return w.ownerOf(q.ID) },
		},
		{
			name: "GET /v1/subscription_items", permission: "rak_subscription_read",
			object: "list:subscription_item", list: true,
			params: api.Params{"subscription": api.Scalar}.Paged(), read: view.listItems,
			customer: func(w *world, q *api.Query) string { return w.ownerOf(q.One["subscription"]) },
		},
		{
			name: "GET /v1/customers", permission: "rak_customer_read", object: "list:customer", list: true,
			params: api.Params{"email": api.Scalar, "created": api.Span}.Paged(), read: view.listCustomers, customer: noCustomer,
		},
		{
			name: "GET /v1/customers/:id", permission: "rak_customer_read", object: "customer",
			read: view.getCustomer, customer: func(_ *world, q *api.Query) string { return q.ID },
		},
		{
			name: "GET /v1/entitlements/active_entitlements", permission: "rak_entitlement_read",
			object: "list:entitlement", list: true, params: api.Params{"customer": api.Scalar}.Paged(),
			read: view.listEntitlements, customer: byParam,
		},
		{
			name: "GET /v1/entitlements/features", permission: "rak_entitlement_read",
			object: "list:feature", list: true,
			params: api.Params{"lookup_key": api.Scalar, "archived": api.Scalar}.Paged(),
			read:   view.listFeatures, customer: noCustomer,
		},
		{
			name: "GET /v1/events", permission: "rak_event_read", object: "list:event", list: true,
			params: api.Params{"type": api.Scalar, "types": api.List, "created": api.Span,
				"delivery_success": api.Scalar}.Paged(),
			read: view.listEvents, customer: noCustomer,
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
	table = append(table, sessionEndpoints()...)
	byName := make(map[string]*endpoint, len(table))
	for _, e := range table {
		byName[e.name] = e
	}
	return byName
}

func noCustomer(*world, *api.Query) string { return "" }

// catalogEndpoints returns the operations on products and prices.
func catalogEndpoints() []*endpoint {
	return []*endpoint{
		{
			name: "GET /v1/products", permission: "rak_product_read", object: "list:product", list: true,
			params: api.Params{"active": api.Scalar, "created": api.Span, "ids": api.List}.Paged(),
			read:   view.listProducts, customer: noCustomer,
		},
		{
			name: "GET /v1/products/:id", permission: "rak_product_read", object: "product",
			read: view.getProduct, customer: noCustomer,
		},
		{
			name: "GET /v1/prices", permission: "rak_plan_read", object: "list:price", list: true,
			params: api.Params{"active": api.Scalar, "created": api.Span, "product": api.Scalar, "lookup_keys": api.List,
				"currency": api.Scalar,
				"type":     api.Scalar}.Paged(),
			read: view.listPrices, customer: noCustomer,
		},
		{
			name: "GET /v1/prices/:id", permission: "rak_plan_read", object: "price",
			read: view.getPrice, customer: noCustomer,
		},
	}
}

// route returns the operation of a request and the id in its path.
func (s *Sim) route(r *http.Request) (*endpoint, string, *api.Error) {
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
	return nil, "", &api.Error{
		Status: http.StatusNotFound, Type: api.TypeInvalid,
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
