package tell

import (
	"fmt"
	"time"

	"entitled/entitlement"
	"entitled/internal/term"
)

// NobodyHas returns the error for an id that no customer has.
func NobodyHas(id string, m entitlement.Mode) error {
	return WithHint(fmt.Errorf("no customer has the id %s in %s mode", term.Printable(id), m),
		"name the customer by its key, cus_…, as a customer without a snapshot or deleted in Stripe must be; `entitled "+
			"plans show` shows which metadata holds your ids; key:… says that it is a key")
}

// An IDLine is what the customers with one of your ids have together, for programs.
type IDLine struct {
	ID string `json:"id"`
	// Customers are the keys, sorted; empty for an id that nobody has.
	Customers []string                     `json:"customers"`
	Allowed   bool                         `json:"allowed"`
	Features  []string                     `json:"features"`
	Limits    map[string]entitlement.Limit `json:"limits"`
	Snapshots []*entitlement.Snapshot      `json:"snapshots"`
}

// NewIDLine decides for the customers with an id.
func NewIDLine(id string, c entitlement.Customers, now time.Time) IDLine {
	line := IDLine{
		ID: id, Customers: c.Keys(), Allowed: c.Allowed(now), Features: []string{},
		Limits: map[string]entitlement.Limit{}, Snapshots: append([]*entitlement.Snapshot{}, c.Snapshots...),
	}
	features, limits := names(givenTo(c))
	for _, f := range features {
		if c.Has(f, now) {
			line.Features = append(line.Features, f)
		}
	}
	for _, name := range limits {
		if limit, known := c.Limit(name, now); known {
			line.Limits[name] = limit
		}
	}
	return line
}
