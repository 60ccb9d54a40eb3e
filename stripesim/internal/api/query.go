package api

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Kind is the form of a parameter.
type Kind int

// The kinds of parameters.
const (
	Scalar Kind = iota // name=v
	List               // name[]=v or name[0]=v
	Span               // name=v or name[gt|gte|lt|lte]=v
)

// Params are the parameters of an endpoint. Every endpoint also takes expand.
type Params map[string]Kind

// Paged adds the parameters of every list.
func (p Params) Paged() Params {
	p["limit"], p["starting_after"], p["ending_before"] = Scalar, Scalar, Scalar
	return p
}

// Query is a request's checked parameters.
type Query struct {
	Base   string // of the simulator, such as http://127.0.0.1:12111
	ID     string // from the path, or ""
	One    map[string]string
	Form   map[string]string // of a write: names with their brackets
	Many   map[string][]string
	spans  map[string]Bounds
	Limit  int
	Expand Expansion
}

// Bounds are inclusive limits in unix seconds.
type Bounds struct{ From, To int64 }

var everything = Bounds{0, math.MaxInt64}

// Has reports whether a time is within the bounds.
func (b Bounds) Has(u int64) bool { return u >= b.From && u <= b.To }

// ParseQuery checks the parameters. Like Stripe, it refuses unknown parameters, empty values and
// invalid numbers.
func ParseQuery(values url.Values, allowed Params) (*Query, *Error) {
	q := &Query{One: map[string]string{}, Many: map[string][]string{}, spans: map[string]Bounds{}, Limit: 10}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, index, bracketed := strings.Cut(key, "[")
		index = strings.TrimSuffix(index, "]")
		k, ok := allowed[name]
		if name == "expand" {
			k, ok = List, true
		}
		if !ok || bracketed != (k == List) && k != Span {
			return nil, BadParam("parameter_unknown", name, "Received unknown parameter: %s", name)
		}
		for _, value := range values[key] {
			if value == "" {
				return nil, BadParam("parameter_invalid_empty", name,
					"You passed an empty string for '%s'. We assume empty values are an attempt to unset a "+
						"parameter; however '%s' cannot be unset. You should remove '%s' from your request or "+
						"supply a non-empty value.", name, name, name)
			}
			switch k {
			case Scalar:
				q.One[name] = value
			case List:
				q.Many[name] = append(q.Many[name], value)
			case Span:
				if err := q.bound(name, index, value); err != nil {
					return nil, err
				}
			}
		}
	}
	return q, q.checkLimit()
}

func (q *Query) checkLimit() *Error {
	raw, ok := q.One["limit"]
	if !ok {
		return nil
	}
	n, err := strconv.Atoi(raw)
	switch {
	case err != nil:
		return BadParam("parameter_invalid_integer", "limit", "Invalid integer: %s", raw)
	case n < 1:
		return BadParam("parameter_invalid_integer", "limit", "This value must be greater than or equal to 1.")
	case n > 100:
		return BadParam("parameter_invalid_integer", "limit",
			"This value must be less than or equal to 100 (it currently is '%d').", n)
	}
	q.Limit = n
	return nil
}

func (q *Query) bound(name, op, value string) *Error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return BadParam("parameter_invalid_integer", name, "Invalid integer: %s", value)
	}
	b, ok := q.spans[name]
	if !ok {
		b = everything
	}
	switch op {
	case "":
		b = Bounds{n, n}
	case "gt":
		b.From = max(b.From, n+1)
	case "gte":
		b.From = max(b.From, n)
	case "lt":
		b.To = min(b.To, n-1)
	case "lte":
		b.To = min(b.To, n)
	default:
		param := fmt.Sprintf("%s[%s]", name, op)
		return BadParam("parameter_unknown", param, "Received unknown parameter: %s", param)
	}
	q.spans[name] = b
	return nil
}

// Span returns the bounds of a parameter; everything if it is absent.
func (q *Query) Span(name string) Bounds {
	if b, ok := q.spans[name]; ok {
		return b
	}
	return everything
}

// OneOf returns an error if a parameter's value is not one of the allowed values.
func (q *Query) OneOf(name string, allowed ...string) *Error {
	v, ok := q.One[name]
	if !ok || slices.Contains(allowed, v) {
		return nil
	}
	return BadParam("", name, "Invalid %s: must be one of %s", name, strings.Join(allowed, ", "))
}
