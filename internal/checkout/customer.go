package checkout

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement"
)

// existing returns a fresh reading of the customer that has an id, found by the index or else by
// Stripe's search; nil if neither finds one that still exists.
func (c *Checkout) existing(ctx context.Context, ix Index, id string) (*entitlement.Snapshot, error) {
	ids := ix.Customers(id)
	s, err := c.choose(ctx, ix, id, ids)
	if s != nil || err != nil {
		return s, err
	}
	found, err := c.api.search(ctx, ix.IDName(), id)
	if err != nil {
		return nil, err
	}
	return c.choose(ctx, ix, id, slices.DeleteFunc(found, func(one string) bool { return slices.Contains(ids, one) }))
}

// choose has customers read from Stripe, and returns one with a subscription, else the one with the
// smallest id; nil if no customer in Stripe has the id.
func (c *Checkout) choose(ctx context.Context, ix Index, id string, ids []string) (*entitlement.Snapshot, error) {
	slices.Sort(ids)
	var first *entitlement.Snapshot
	for _, one := range slices.Compact(ids) {
		s, err := ix.Sync(ctx, one)
		var refused *entitlement.SyncError
		switch {
		case errors.As(err, &refused) && refused.Code == http.StatusNotFound:
			continue
		case err != nil:
			return nil, indexError{err}
		case s.Deleted || s.ID != id:
			continue
		case subscribed(&s):
			return &s, nil
		case first == nil:
			first = &s
		}
	}
	return first, nil
}

// subscribed reports whether a customer has a subscription that has begun and has not ended: one whose
// first payment is missing (incomplete) does not count.
func subscribed(s *entitlement.Snapshot) bool {
	switch s.Status { // the best status of all
	case "active", "trialing", "past_due", "unpaid", "paused":
		return true
	}
	return false
}

// customer returns the customer of an id: one that exists, the one that the caller names, or a new
// one.
func (c *Checkout) customer(ctx context.Context, ix Index, id string, in Request) (*entitlement.Snapshot, error) {
	if in.Customer == "" {
		s, err := c.existing(ctx, ix, id)
		if s != nil || err != nil {
			return s, err
		}
		made, err := c.create(ctx, ix.IDName(), id)
		if err != nil {
			return nil, err
		}
		return c.welcome(ctx, ix, made, in.Email)
	}
	s, err := c.choose(ctx, ix, id, ix.Customers(id))
	if s != nil || err != nil {
		return s, err
	}
	bound, err := c.bind(ctx, ix.IDName(), id, in.Customer)
	if err != nil {
		return nil, err
	}
	return c.welcome(ctx, ix, bound, in.Email)
}

// welcome gives a customer without an e-mail address the one of the request, and has the customer
// read, so that the index knows it.
func (c *Checkout) welcome(ctx context.Context, ix Index, of *stripe.Customer, email string) (*entitlement.Snapshot,
	error) {
	if email != "" && of.Email == "" {
		if err := c.api.change(ctx, of.ID, &stripe.CustomerParams{Email: &email}); err != nil {
			return nil, err
		}
	}
	s, err := ix.Sync(ctx, of.ID)
	switch {
	case err != nil:
		return nil, indexError{err}
	case s.Deleted: // within this request
		return nil, errUnsettled
	}
	return &s, nil
}

// bind gives the id to a customer that has no other.
func (c *Checkout) bind(ctx context.Context, name, id, customer string) (*stripe.Customer, error) {
	of, err := c.api.get(ctx, customer)
	switch {
	case err != nil:
		return nil, err
	case of == nil:
		return nil, &Error{Status: http.StatusUnprocessableEntity, Code: "no_such_customer",
			Message: "Stripe has no such customer: see customer in the body"}
	case of.Metadata[name] == id:
		return of, nil
	case of.Metadata[name] != "":
		return nil, conflict("other_id", "the customer in the body has another id of yours")
	}
	p := &stripe.CustomerParams{}
	p.AddMetadata(name, id)
	return of, c.api.change(ctx, customer, p)
}

// A course is how the creation of a customer goes on after an answer.
type course int

const (
	take    course = iota // the customer of the answer
	again                 // the same key once more
	lookup                // look among the newest customers; without a hit, the next key
	give                  // give up with the error
	another               // a key that depends on the customer of the answer, which is gone
)

// decide is the whole decision after one answer to a creation. gone reports that the customer of the
// answer is deleted, or has another id by now.
func decide(v verdict, replayed, gone bool) course {
	switch {
	case v == done && gone:
		return another
	case v == done:
		return take
	case v == failed && !replayed:
		// It may have taken effect, and the error may be saved under the key: the next answer shows it.
		return again
	case v == failed:
		return lookup
	}
	return give
}

// maxFailures bounds the failed answers while a customer is created, and the keys that write tries.
const maxFailures = 5

// create makes the customer of an id. Concurrent callers send the same requests: the key depends on
// the mode, the name, the id, and n, which changes only with answers that Stripe gives to all of them.
func (c *Checkout) create(ctx context.Context, name, id string) (*stripe.Customer, error) {
	n, failures, count := "", 0, 0
	for {
		var made *stripe.Customer
		v, replayed, err := c.api.repeat(ctx, func() (err error) {
			p := &stripe.CustomerParams{Metadata: map[string]string{name: id}}
			p.Context, p.IdempotencyKey = ctx, key("customer", string(c.mode), name, id, n, strconv.Itoa(count))
			made, err = c.api.customers.New(p)
			return err
		})
		gone := false
		if v == done && made.LastResponse.Header.Get("Idempotent-Replayed") == "true" {
			// The saved answer shows the customer as it was.
			now, err := c.api.get(ctx, made.ID)
			if err != nil {
				return nil, err
			}
			gone = now == nil || now.Metadata[name] != id
			if !gone {
				made = now
			}
		}
		switch decide(v, replayed, gone) {
		case take:
			return made, nil
		case another:
			n, count = made.ID, 0
		case again, lookup:
			if failures++; failures > maxFailures {
				return nil, err
			}
			if decide(v, replayed, gone) == again {
				continue
			}
			found, err := c.api.recent(ctx, name, id)
			if err != nil {
				return nil, err
			}
			if found != "" {
				if now, err := c.api.get(ctx, found); err != nil || now != nil {
					return now, err
				}
			}
			count++
		default:
			return nil, err
		}
	}
}

// ownID reports whether readers take a name for an id of yours, and not for a key.
func ownID(id string) bool {
	if rest, ok := strings.CutPrefix(id, "acct_"); ok {
		_, after, _ := strings.Cut(rest, ".")
		id = after
	}
	return id != "" && !strings.HasPrefix(id, "cus_")
}
