package stripesim

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// kind is the form of a parameter.
type kind int

const (
	scalar kind = iota // name=v
	list               // name[]=v or name[0]=v
	span               // name=v or name[gt|gte|lt|lte]=v
)

// params are the parameters of an endpoint. Every endpoint also takes expand.
type params map[string]kind

// paged adds the parameters of every list.
func (p params) paged() params {
	p["limit"], p["starting_after"], p["ending_before"] = scalar, scalar, scalar
	return p
}

// query is a request's checked parameters.
type query struct {
	id     string // from the path, or ""
	one    map[string]string
	form   map[string]string // of a write: names with their brackets
	many   map[string][]string
	spans  map[string]bounds
	limit  int
	expand expansion
}

// bounds are inclusive limits in unix seconds.
type bounds struct{ from, to int64 }

var everything = bounds{0, now}

func (b bounds) has(u int64) bool { return u >= b.from && u <= b.to }

// parseQuery checks the parameters. Like Stripe, it refuses unknown parameters, empty values and
// invalid numbers.
func parseQuery(values url.Values, allowed params) (*query, *apiError) {
	q := &query{one: map[string]string{}, many: map[string][]string{}, spans: map[string]bounds{}, limit: 10}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, index, bracketed := strings.Cut(key, "[")
		index = strings.TrimSuffix(index, "]")
		k, ok := allowed[name]
		if name == "expand" {
			k, ok = list, true
		}
		if !ok || bracketed != (k == list) && k != span {
			return nil, badParam("parameter_unknown", name, "Received unknown parameter: %s", name)
		}
		for _, value := range values[key] {
			if value == "" {
				return nil, badParam("parameter_invalid_empty", name,
					"You passed an empty string for '%s'. We assume empty values are an attempt to unset a "+
						"parameter; however '%s' cannot be unset. You should remove '%s' from your request or "+
						"supply a non-empty value.", name, name, name)
			}
			switch k {
			case scalar:
				q.one[name] = value
			case list:
				q.many[name] = append(q.many[name], value)
			case span:
				if err := q.bound(name, index, value); err != nil {
					return nil, err
				}
			}
		}
	}
	return q, q.checkLimit()
}

func (q *query) checkLimit() *apiError {
	raw, ok := q.one["limit"]
	if !ok {
		return nil
	}
	n, err := strconv.Atoi(raw)
	switch {
	case err != nil:
		return badParam("parameter_invalid_integer", "limit", "Invalid integer: %s", raw)
	case n < 1:
		return badParam("parameter_invalid_integer", "limit", "This value must be greater than or equal to 1.")
	case n > 100:
		return badParam("parameter_invalid_integer", "limit",
			"This value must be less than or equal to 100 (it currently is '%d').", n)
	}
	q.limit = n
	return nil
}

func (q *query) bound(name, op, value string) *apiError {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return badParam("parameter_invalid_integer", name, "Invalid integer: %s", value)
	}
	b, ok := q.spans[name]
	if !ok {
		b = everything
	}
	switch op {
	case "":
		b = bounds{n, n}
	case "gt":
		b.from = max(b.from, n+1)
	case "gte":
		b.from = max(b.from, n)
	case "lt":
		b.to = min(b.to, n-1)
	case "lte":
		b.to = min(b.to, n)
	default:
		param := fmt.Sprintf("%s[%s]", name, op)
		return badParam("parameter_unknown", param, "Received unknown parameter: %s", param)
	}
	q.spans[name] = b
	return nil
}

func (q *query) span(name string) bounds {
	if b, ok := q.spans[name]; ok {
		return b
	}
	return everything
}

// oneOf returns an error if a parameter's value is not one of the allowed values.
func (q *query) oneOf(name string, allowed ...string) *apiError {
	v, ok := q.one[name]
	if !ok || slices.Contains(allowed, v) {
		return nil
	}
	return badParam("", name, "Invalid %s: must be one of %s", name, strings.Join(allowed, ", "))
}
