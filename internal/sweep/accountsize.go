package sweep

import (
	"entitled/entitlement"
	"entitled/internal/store"
	"entitled/internal/streams"
)

// An accountSize is how much the last sweep of an account read.
type accountSize struct {
	Pages         int `json:"pages"`
	Subscriptions int `json:"subscriptions"`
}

// SizeOf returns the entry of stripe_state that holds the size of an account.
func SizeOf(s *store.Store, mode entitlement.Mode, account string) streams.Entry[accountSize] {
	key := "sweep." + string(mode)
	if account != "" {
		key += "." + entitlement.Key("", account)
	}
	return streams.Entry[accountSize]{KV: s.State, Key: key}
}
