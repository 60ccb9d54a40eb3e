package entitlement

import "errors"

var (
	// ErrNoBucket is returned by [Open] when the mode's bucket is not there: start a syncer for that mode, or run
	// `entitled topology apply`, and open again, or set [Options].WaitForBucket.
	ErrNoBucket = errors.New("the bucket is not provisioned")

	// ErrSchema is returned for a bucket entry whose schema is newer than [Schema]: upgrade this package
	// in the reading program first. [Decode] and [Client.Lookup] return it for one entry; [Open] when no entry
	// is readable and at least one is newer.
	ErrSchema = errors.New("snapshot schema is newer than this client")

	// ErrClosed is returned by [Client.Sync] once the client is closed. Reads of a closed client go on answering
	// with what it last held.
	ErrClosed = errors.New("the client is closed")
)
