package audit

import (
	"fmt"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// A Slice is a part of the log of events: those that fit in every respect that is set.
type Slice struct {
	Mode entitlement.Mode
	// Account is a connected account's id, [Own] for one's own account, "" for any.
	Account string
	// Customer is a customer's id, "" for any and for events that name none.
	Customer string
	// Types are globs of event types, as in MARK_TYPES; none stands for all.
	Types []string
	// Since and Until bound when the event was stored, by the clock of NATS; Until itself is left out. Zero does not bound.
	Since, Until time.Time
}

// Own stands for one's own account in a [Slice].
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

// filters are the subjects that the server looks up; they may let through more types than the globs.
func (s Slice) filters() []string {
	prefix := "stripe.event." + string(s.Mode) + "." + idFilter(s.Account) + "." + idFilter(s.Customer) + "."
	var list []string
	for _, glob := range s.Types {
		list = merge(list, prefix+typeFilter(glob))
	}
	if list == nil {
		return []string{prefix + ">"}
	}
	return list
}

func idFilter(id string) string {
	if id == "" {
		return "*"
	}
	return entitlement.Key("", id)
}

// typeFilter covers a glob: exactly for a type and for one whose only star is a whole last part.
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

// merge adds a filter to others; the server refuses filters that overlap.
func merge(list []string, filter string) []string {
	out := list[:0:0]
	for _, f := range list {
		switch {
		case covers(f, filter):
			return list
		case !covers(filter, f):
			out = append(out, f)
		}
	}
	return append(out, filter)
}

func covers(wide, narrow string) bool {
	head, open := strings.CutSuffix(wide, ">")
	return wide == narrow || open && strings.HasPrefix(narrow, head)
}
