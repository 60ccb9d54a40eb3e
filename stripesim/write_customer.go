package stripesim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/searchquery"
	"entitled/stripesim/internal/wire"
)

var customerFields = []string{"email", "name", "description", "phone", "metadata", "metadata[*]"}

// customerWrites returns the operations that change customers, and the search.
func customerWrites() []*endpoint {
	byPath := func(_ *world, q *api.Query) string { return q.ID }
	return []*endpoint{
		{
			name: "POST /v1/customers", permission: "rak_customer_write", object: "customer",
			fields: customerFields, write: writeNewCustomer, customer: noCustomer,
		},
		{
			name: "POST /v1/customers/:id", permission: "rak_customer_write", object: "customer",
			fields: customerFields, write: writeCustomer, customer: byPath,
		},
		{
			name: "DELETE /v1/customers/:id", permission: "rak_customer_write", object: "customer",
			write: writeDeleteCustomer, customer: byPath,
		},
		{
			name: "GET /v1/customers/search", permission: "rak_customer_read", object: "list:customer",
			params: api.Params{"query": api.Scalar, "limit": api.Scalar, "page": api.Scalar},
			read:   view.searchCustomers, customer: noCustomer,
		},
	}
}

// changeCustomer applies the fields of a request to a customer.
func changeCustomer(q *api.Query, c *Customer) *api.Error {
	for name, field := range map[string]*string{
		"email": &c.Email, "name": &c.Name, "description": &c.Description, "phone": &c.Phone,
	} {
		if value, ok := q.Form[name]; ok {
			*field = value
		}
	}
	if c.Email != "" && !strings.Contains(c.Email, "@") {
		return api.BadParam("email_invalid", "email", "Invalid email address: %s", c.Email)
	}
	if raw, ok := q.Form["metadata"]; ok { // an empty value removes all
		if raw != "" {
			return api.BadParam("", "metadata", "Invalid hash")
		}
		c.Metadata = nil
	}
	var err *api.Error
	c.Metadata, err = q.MergedMetadata("metadata", c.Metadata)
	return err
}

func writeNewCustomer(t *tx, v view, q *api.Query) (any, *api.Error) {
	var c Customer
	if err := changeCustomer(q, &c); err != nil {
		return nil, err
	}
	rec, err := t.newCustomer(CustomerParams{
		Email: c.Email, Name: c.Name, Description: c.Description, Phone: c.Phone, Metadata: c.Metadata,
	})
	if err != nil {
		return nil, api.BadParam("", "", "%v", err)
	}
	t.emit("customer.created", t.wireCustomer(rec.get()), nil)
	return v.customer(rec.get(), q.Expand), nil
}

// livingCustomer returns the customer that a path names. Stripe does not find a deleted one either.
func (t *tx) livingCustomer(id string) (*custRecord, *api.Error) {
	rec := t.custs[id]
	if rec == nil || rec.get().Deleted {
		return nil, api.Missing(http.StatusNotFound, "customer", id, "id")
	}
	return t.of(rec), nil
}

func writeCustomer(t *tx, v view, q *api.Query) (any, *api.Error) {
	rec, err := t.livingCustomer(q.ID)
	if err != nil {
		return nil, err
	}
	next := *rec.get()
	if err := changeCustomer(q, &next); err != nil {
		return nil, err
	}
	t.updateCustomer(rec, func(c *Customer) { *c = next })
	return v.customer(rec.get(), q.Expand), nil
}

func writeDeleteCustomer(t *tx, v view, q *api.Query) (any, *api.Error) {
	rec, err := t.livingCustomer(q.ID)
	if err != nil {
		return nil, err
	}
	t.deleteCustomer(rec)
	return v.customer(rec.get(), nil), nil
}

// searchIndex says how customers are found by the search, which lags behind the changes: each of the
// newest changes has the state before it.
type searchIndex struct{ changes []indexChange }

type indexChange struct {
	rec    *custRecord
	before *Customer // nil: there was none
	at     int64     // unix seconds of the simulator's clock
}

// set publishes a customer's state and notes the change for the search.
func (t *tx) setCustomer(rec *custRecord, next *Customer) {
	if !t.loading {
		s := &t.search
		s.forget(t.listed - t.searchLag())
		s.changes = append(s.changes, indexChange{rec, rec.get(), t.listed})
	}
	rec.set(next, t.stamp)
}

func (w *world) searchLag() int64 { return max(int64(w.sim.cfg.SearchLag.Seconds()), 0) }

// forget removes the changes that the search shows.
func (s *searchIndex) forget(until int64) {
	n := 0
	for n < len(s.changes) && s.changes[n].at <= until {
		n++
	}
	s.changes = s.changes[n:]
}

// asOf returns the customers that have changed since, as they were.
func (s *searchIndex) asOf(until int64) map[*custRecord]*Customer {
	was := map[*custRecord]*Customer{}
	for _, c := range slices.Backward(s.changes) {
		if c.at > until {
			was[c.rec] = c.before
		}
	}
	return was
}

// searchCustomers answers from the index, so it may show customers that are deleted by now, and
// values that have changed. A page is the number of customers before it.
func (v view) searchCustomers(q *api.Query) (any, *api.Error) {
	text, ok := q.One["query"]
	if !ok {
		return nil, api.BadParam("parameter_missing", "query", "Missing required param: query.")
	}
	query, err := searchquery.Parse(text, []string{"created"},
		[]string{"email", "name", "phone", "metadata"})
	if err != nil {
		return nil, api.BadParam("", "query", "We were unable to parse your search query: %v.", err)
	}
	skip := 0
	if raw, ok := q.One["page"]; ok {
		if skip, err = strconv.Atoi(raw); err != nil || skip < 0 {
			return nil, api.BadParam("", "page", "Invalid page token.")
		}
	}
	was := v.w.search.asOf(v.w.sim.Now().Unix() - v.w.searchLag())
	out := &wire.Search{Object: "search_result", URL: "/v1/customers/search"}
	data, n := []any{}, 0
	for _, rec := range slices.Backward(v.w.custList) {
		c := rec.get()
		if before, changed := was[rec]; changed {
			c = before
		}
		if c == nil || c.Deleted || !query.Match(c.searchField) {
			continue
		}
		if n++; n <= skip {
			continue
		}
		if len(data) == q.Limit {
			next := strconv.Itoa(skip + q.Limit)
			out.HasMore, out.NextPage = true, &next
			break
		}
		data = append(data, v.customer(c, q.Expand.Of("data")))
	}
	out.Data = data
	return out, nil
}

func (c *Customer) searchField(field, key string) (value string, has bool) {
	switch field {
	case "email":
		value = c.Email
	case "name":
		value = c.Name
	case "phone":
		value = c.Phone
	case "created":
		value = strconv.FormatInt(c.Created, 10)
	case "metadata":
		value = c.Metadata[key]
	}
	return value, value != ""
}
