// Package entitlement answers from memory what a Stripe customer is entitled to, in any program
// that can reach NATS.
//
// The syncers of entitled keep one [Snapshot] per customer in a JetStream KV bucket, each a
// complete reading of the customer's state in Stripe. A [Client] follows that bucket:
//
//	nc, err := nats.Connect(url, nats.MaxReconnects(-1)) // reconnect forever
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
//	if !client.Has("cus_1", "api") { // reads memory, returns no error
//		return errUpgrade
//	}
//
// A customer is named by its bucket key, which is its id in Stripe for your own account, and [Key]
// for a connected account; or by your own id, which the plans document finds in the customer's
// metadata: client.Has("id:42", "api"). [Client.Limit] returns a number that the customer has, such
// as its seats, and [Client.Decide] the reason for an answer. [Client.Get] returns the snapshot,
// [Client.Watch] yields the snapshot and then its changes, and [Client.Sync] has it read from Stripe
// now, as when a customer returns from checkout.
//
// # Guarantees
//
//   - Open returns when the client has the bucket's current state. After that, reads never block and
//     never fail, except those that ask NATS: Fetch, and with [Options].DecisionsOnly Get and Lookup.
//   - An unknown customer has the default of the plans document, and nothing without one: Get returns a
//     zero snapshot and false, and Allowed is false.
//   - The client follows the plans document beside the bucket. Without a document, or without the
//     permission to read it, it works as if there were no default. A document that is lost later takes
//     its default from nobody: the last one answers while the program runs. [Status].PlansErr says so.
//   - A snapshot is whole, belongs to the requested customer, account and mode, and is never older
//     than one seen before, unless the bucket was recreated or restored.
//   - Has, Allowed, Limit and Decide apply the ends of grants when they are called, not when the next
//     entry arrives.
//   - The view converges after every reconnect, lost delivery and server restart. The client notices a
//     purged or recreated bucket within [Options].CheckEvery; customers that are no longer in it become
//     unknown.
//   - An unreadable entry affects no other customer. The customer's last readable snapshot stays in
//     use; without one the customer is unknown. [Client.Status] counts such entries, and
//     [Client.Lookup] returns the reason.
//   - A watch yields only changes of content, never delays the client, and never loses the last state.
//   - When the NATS connection is closed for good, the client ends: every Watch ends and
//     [Status].Ended is true.
//   - Close waits for the client's two goroutines. The package logs only to [Options].Logger.
//
// # Limits
//
// The view is milliseconds behind the bucket. While NATS is unreachable, or the bucket does not
// exist, reads answer with the last known state; [Status].CurrentAt says how old that is. A program
// that must deny rather than use old state compares CurrentAt with its own limit. A snapshot's AsOf
// says when Stripe was read. By default nats.go closes the connection for good after 60 failed
// attempts per server, about two minutes; connect with nats.MaxReconnects(-1).
//
// A client of the whole bucket has every snapshot in memory, as the JSON of its entry, and beside it
// what decides. With [Options].DecisionsOnly it has only the latter, and Get, Lookup and Fetch ask
// NATS. docs/performance.md has the bytes of both. A program that serves few customers names them in
// [Options].Customers and loads only those. Such a client notices entries that were removed without
// a delete marker only after a reconnect, or when the whole bucket has fewer messages than at the
// previous check.
//
// After a reconnect, a client of the whole bucket requests only entries newer than its own. If a
// server lost acknowledged entries (a power failure without sync_interval: always) and as many were
// written again, the client may keep some lost ones until the next sync of their customers.
//
// The first load ends with a delivery that has no other behind it, so it does not end while the
// bucket is written faster than this program reads. A client reads tens of thousands of entries per
// second.
//
// # Permissions
//
// The NATS user of a client of mode live needs only these permissions. With nats.CustomInboxPrefix,
// replace _INBOX.
//
//	publish    $JS.API.STREAM.INFO.KV_entitlements_live          read the state of the bucket
//	           $JS.API.DIRECT.GET.KV_entitlements_live.>         Fetch, and Get with DecisionsOnly
//	           $JS.API.CONSUMER.CREATE.KV_entitlements_live.>    watch
//	           $JS.API.CONSUMER.DELETE.KV_entitlements_live.*    end a watch (else the server does, later)
//	           $JS.FC.KV_entitlements_live.>                     flow control of the watch
//	           $JS.FC.*.*.KV_entitlements_live.>                 the same, with account and domain
//	           $JS.API.STREAM.INFO.KV_entitled_plans             the same for the plans document
//	           $JS.API.CONSUMER.CREATE.KV_entitled_plans.>
//	           $JS.API.CONSUMER.DELETE.KV_entitled_plans.*
//	           $JS.FC.KV_entitled_plans.>
//	           $JS.FC.*.*.KV_entitled_plans.>
//	           entitled.sync.live                                Sync
//	subscribe  _INBOX.>
//
// # Compatibility
//
// The bucket's JSON is a contract, for readers in other languages too. Field names are those of
// [Snapshot]. Times are unix seconds, except as_of and changed_at, which are RFC 3339 with
// nanoseconds. Under schema 1, fields are only added and never change their meaning, so readers
// must ignore unknown fields, statuses and feature lookup keys. The schema number rises only when
// readers of the old one would be wrong; [Decode] then returns [ErrSchema]. Upgrade readers before
// writers.
package entitlement
