package snapshot

import "strings"

// The prefixes that say how a reader's argument names a customer.
const (
	keyPrefix = "key:"
	idPrefix  = "id:"
)

// ParseRef splits the argument of a reader, which names a customer by its bucket key (see [Key]) or by
// your own id. The prefixes key: and id: say which. Without one, an argument that begins as a
// customer id of Stripe does, with or without a connected account (acct_1.cus_1), is a key, and every
// other is an id. It allocates nothing.
func ParseRef(ref string) (name string, isID bool) {
	if key, ok := strings.CutPrefix(ref, keyPrefix); ok {
		return key, false
	}
	if id, ok := strings.CutPrefix(ref, idPrefix); ok {
		return id, true
	}
	return ref, !likeKey(ref)
}

// likeKey reports whether ref matches ^(acct_[A-Za-z0-9]+\.)?cus_.
func likeKey(ref string) bool {
	if strings.HasPrefix(ref, "cus_") {
		return true
	}
	rest, ok := strings.CutPrefix(ref, "acct_")
	if !ok {
		return false
	}
	account, customer, connected := strings.Cut(rest, ".")
	if !connected || account == "" || !strings.HasPrefix(customer, "cus_") {
		return false
	}
	for i := 0; i < len(account); i++ {
		if c := account[i]; !plain(c) || c == '_' || c == '-' {
			return false
		}
	}
	return true
}
