package stripesim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"entitled/stripesim/internal/searchquery"
	"entitled/stripesim/internal/wire"
)

var customerFields = []string{"email", "name", "description", "phone", "metadata", "metadata[*]"}

// customerWrites returns the operations that change customers, and the search.
func customerWrites() []*endpoint {
	byPath := func(_ *world, q *query) string { return q.id }
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
			params: params{"query": scalar, "limit": scalar, "page": scalar},
			read:   view.searchCustomers, customer: noCustomer,
		},
	}
}

// change applies the fields of a request to a customer.
func (q *query) change(c *Customer) *apiError {
	for name, field := range map[string]*string{
		"email": &c.Email, "name": &c.Name, "description": &c.Description, "phone": &c.Phone,
	} {
		if value, ok := q.form[name]; ok {
			*field = value
		}
	}
	if c.Email != "" && !strings.Contains(c.Email, "@") {
		return badParam("email_invalid", "email", "Invalid email address: %s", c.Email)
	}
	if raw, ok := q.form["metadata"]; ok { // an empty value removes all
		if raw != "" {
			return badParam("", "metadata", "Invalid hash")
		}
		c.Metadata = nil
	}
	var err *apiError
	c.Metadata, err = q.mergedMetadata("metadata", c.Metadata)
	return err
}

func writeNewCustomer(t *tx, v view, q *query) (any, *apiError) {
	var c Customer
	if err := q.change(&c); err != nil {
		return nil, err
	}
	rec, err := t.newCustomer(CustomerParams{
		Email: c.Email, Name: c.Name, Description: c.Description, Phone: c.Phone, Metadata: c.Metadata,
	})
	if err != nil {
		return nil, badParam("", "", "%v", err)
	}
	t.emit("customer.created", t.wireCustomer(rec.get()), nil)
	return v.customer(rec.get(), q.expand), nil
}

// livingCustomer returns the customer that a path names. Stripe does not find a deleted one either.
func (t *tx) livingCustomer(id string) (*custRecord, *apiError) {
	rec := t.custs[id]
	if rec == nil || rec.get().Deleted {
		return nil, missing(http.StatusNotFound, "customer", id, "id")
	}
	return rec, nil
}

func writeCustomer(t *tx, v view, q *query) (any, *apiError) {
	rec, err := t.livingCustomer(q.id)
	if err != nil {
		return nil, err
	}
	next := *rec.get()
	if err := q.change(&next); err != nil {
		return nil, err
	}
	t.updateCustomer(rec, func(c *Customer) { *c = next })
	return v.customer(rec.get(), q.expand), nil
}

func writeDeleteCustomer(t *tx, v view, q *query) (any, *apiError) {
	rec, err := t.livingCustomer(q.id)
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
		s.forget(t.now - t.searchLag())
		s.changes = append(s.changes, indexChange{rec, rec.get(), t.now})
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
func (v view) searchCustomers(q *query) (any, *apiError) {
	text, ok := q.one["query"]
	if !ok {
		return nil, badParam("parameter_missing", "query", "Missing required param: query.")
	}
	query, err := searchquery.Parse(text, []string{"created"},
		[]string{"email", "name", "phone", "metadata"})
	if err != nil {
		return nil, badParam("", "query", "We were unable to parse your search query: %v.", err)
	}
	skip := 0
	if raw, ok := q.one["page"]; ok {
		if skip, err = strconv.Atoi(raw); err != nil || skip < 0 {
			return nil, badParam("", "page", "Invalid page token.")
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
		if len(data) == q.limit {
			next := strconv.Itoa(skip + q.limit)
			out.HasMore, out.NextPage = true, &next
			break
		}
		data = append(data, v.customer(c, q.expand.of("data")))
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
