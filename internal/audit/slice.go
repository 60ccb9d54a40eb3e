package audit

import (
	"fmt"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
)

// A Slice selects the events that match all fields that are set.
type Slice struct {
	Mode entitlement.Mode
	// Account is a connected account's id, [Own] for the platform's own account, "" for any.
	Account string
	// Customers are the ids of customers; none selects all, and the events without one.
	Customers []string
	// Types are globs of event types, as in MARK_TYPES; none selects all.
	Types []string
	// Since (inclusive) and Until (exclusive) bound the time of storing, by the clock of NATS. Zero
	// means no bound.
	Since, Until time.Time
}

// Own selects the platform's own account in a [Slice].
const Own = "self"

// types compiles the globs.
func (s Slice) types() (stripeevent.Types, error) {
	if len(s.Types) == 0 {
		return stripeevent.ParseTypes("*")
	}
	t, err := stripeevent.ParseTypes(strings.Join(s.Types, ","))
	if err != nil {
		return t, fmt.Errorf("event types of the slice: %w", err)
	}
	return t, nil
}

// filters returns the server's subject filters; they may match more types than the globs.
func (s Slice) filters() []string {
	customers, types := []string{"*"}, []string{">"}
	if len(s.Customers) > 0 {
		customers = nil
		for _, id := range s.Customers {
			customers = append(customers, entitlement.Key("", id))
		}
	}
	if len(s.Types) > 0 {
		types = nil
		for _, glob := range s.Types {
			types = append(types, typeFilter(glob))
		}
	}
	var list []string
	for _, customer := range customers {
		for _, typ := range types {
			list = streams.MergeFilters(list, "stripe.event."+string(s.Mode)+"."+accountFilter(s.Account)+"."+customer+"."+typ)
		}
	}
	return list
}

func accountFilter(account string) string {
	if account == "" {
		return "*"
	}
	return entitlement.Key("", account)
}

// typeFilter returns a filter that covers a glob: exactly for a type, and for a glob whose only
// star is a whole last part.
func typeFilter(glob string) string {
	head, tail, star := strings.Cut(strings.TrimSpace(glob), "*")
	switch {
	case !star:
		return head
	case tail == "" && strings.HasSuffix(head, "."):
		return head + ">"
	}
	return ">"
}
