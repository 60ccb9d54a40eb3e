// Package entitlement answers what a Stripe customer is entitled to, from memory, in any program that can reach NATS.
//
// The syncers of entitled keep one [Snapshot] per customer in a JetStream KV bucket, each a complete reading of the
// customer's state in Stripe. A [Client] follows that bucket:
//
//	nc, err := nats.Connect(url, nats.MaxReconnects(-1)) // never gives up
//	if err != nil {
//		return err
//	}
//	defer nc.Close()
//	client, err := entitlement.Open(ctx, nc, entitlement.Live, nil)
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//
//	if !client.Has("cus_1", "api") { // from memory, no error to forget
//		return errUpgrade
//	}
//
// [Client.Get] returns the snapshot, [Client.Watch] yields it and then its changes, and [Client.Sync] has it read from
// Stripe now, for the moment when a customer comes back from checkout. Customers are named by bucket key: the customer
// id for your own account, and [Key] for a connected account's.
//
// # Guarantees
//
//   - Open returns when the client holds the bucket's current state. After that reads never block and never fail.
//   - An unknown customer has nothing: Get returns a zero snapshot and false, Has and Allowed are false.
//   - A snapshot is whole, of the customer, account and mode that was asked for, and never older than one that was
//     seen before, unless the bucket itself was created again or restored.
//   - Has and Allowed apply the end of access (access_until) when asked, not when the next entry comes.
//   - The view converges after every reconnect, lost delivery and restart of a server. A bucket that is emptied or created
//     again is noticed within [Options].CheckEvery; customers that it no longer holds become unknown.
//   - An entry that cannot be read harms no other: the customer's last readable snapshot stays in use, else the customer
//     is unknown. [Client.Status] counts such entries and [Client.Lookup] says what is wrong.
//   - A watch is called for changes of content only, never holds up the client, and never loses the last state.
//   - A client ends with its NATS connection: when that is closed for good, every Watch ends and [Status].Ended is true.
//   - Close waits for the client's one goroutine. The package logs only to the Logger it is given.
//
// # Limits
//
// The view follows the bucket by milliseconds, and while NATS is away it is stale: reads go on with what is held, and
// [Status].CurrentAt says since when. A program that must rather deny than be stale compares it with its own limit.
// A bucket that is gone altogether counts as away. The connection must not give up: by default nats.go closes it for good
// after 60 failed attempts at each server, about two minutes, and then nothing is followed any more. How fresh a snapshot is against Stripe is its AsOf.
//
// A client of the whole bucket holds every snapshot in memory, about 1 KB for a customer with one subscription of one
// item, 1 GB for a million. A program that serves few customers names them in [Options].Customers and loads only those.
// One of a few customers notices entries that were removed without a deletion marker only when the bucket as a whole
// holds fewer messages than at the check before, or after a reconnect.
//
// After a reconnect a client of the whole bucket asks for what is newer than what it holds. Should a server have lost entries
// that it had acknowledged (no sync_interval: always, and a power failure) and written as many again, the client may
// keep some of the lost ones until their customers are synced next.
//
// A load in which no delivery is the last, since the bucket is written faster than this program reads, does not end;
// a client reads tens of thousands of entries per second.
//
// # Permissions
//
// The NATS user of a client of mode live needs no more than this, with its own prefix if it sets
// one by nats.CustomInboxPrefix:
//
//	publish    $JS.API.STREAM.INFO.KV_entitlements_live          the bucket and its state
//	           $JS.API.CONSUMER.CREATE.KV_entitlements_live.>    watch
//	           $JS.API.CONSUMER.DELETE.KV_entitlements_live.*    stop to watch; without it the server does after a while
//	           $JS.FC.KV_entitlements_live.>                     flow control of the watch
//	           $JS.FC.*.*.KV_entitlements_live.>                 the same, from a server with an account or domain in it
//	           entitled.sync.live                                Sync
//	subscribe  _INBOX.>
//
// # Compatibility
//
// The bucket's JSON is a contract, for readers in other languages too: field names are those of [Snapshot], times are unix
// seconds, but for as_of and changed_at, which are RFC 3339 with nanoseconds. Under schema 1 fields are
// added and never change their meaning, so a reader must ignore fields that it does not know, and statuses and feature
// lookup keys that it does not know too. The schema number rises only when a reader of the old one would be wrong; [Decode]
// then returns [ErrSchema] rather than guess. Readers are upgraded first, writers after.
package entitlement
