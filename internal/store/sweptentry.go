package store

import (
	"time"

	"entitled/entitlement"
	"entitled/internal/streams"
)

// A Swept is the result of the last nightly sweep of all accounts, for those who look.
type Swept struct {
	Ended time.Time `json:"ended"`
	// Subscriptions were compared. Drift counts the customers that differed without a marker.
	Subscriptions int `json:"subscriptions"`
	Drift         int `json:"drift"`
}

// SweptEntry returns the entry of stripe_state that holds it.
func SweptEntry(state streams.KV, mode entitlement.Mode) streams.Entry[Swept] {
	return streams.Entry[Swept]{KV: state, Key: "swept." + string(mode)}
}
