package entitlement

import (
	"errors"

	"entitled/entitlement/snapshot"
)

var (
	// ErrNoBucket is returned by [Open] when the bucket of the mode does not exist. Start a syncer
	// for the mode or run `entitled topology apply`, then open again; or set
	// [Options].WaitForBucket.
	ErrNoBucket = errors.New("the bucket is not provisioned")

	// ErrSchema is returned for a bucket entry whose schema is newer than [Schema]: the reading
	// program needs a newer version of this package. [Decode] and [Client.Lookup] return it for one
	// entry, [Open] when no entry is readable and at least one is newer.
	ErrSchema = snapshot.ErrSchema

	// ErrNoCustomer is returned by [Client.Sync] for an id that no customer has: none that the client
	// follows, or none any more once they were read from Stripe.
	ErrNoCustomer = errors.New("no customer has this id: sync the customer by its key (cus_…), and check that its " +
		"metadata has the id under the key that the plans document names (ids)")

	// ErrClosed is returned by [Client.Sync] after [Client.Close]. The other reads of a closed
	// client keep answering from memory.
	ErrClosed = errors.New("the client is closed")
)
