// Package byhand lets entitlementtest make clients that follow no bucket. Package entitlement sets
// the functions, and exports none of them, because a program has no use for such a client.
package byhand

// Client is an *entitlement.Client; this package cannot name the type, because entitlement imports
// it.
type Client any

var (
	// New returns a client of mode test that knows no customer.
	New func() Client
	// Put stores an entry as if the bucket had delivered it; without a value it removes the
	// customer. The error says why the value is not the customer's snapshot, or that the client
	// follows a bucket.
	Put func(c Client, key string, value []byte) error
	// Plans applies a plans document in the same way.
	Plans func(c Client, document []byte) error
)
