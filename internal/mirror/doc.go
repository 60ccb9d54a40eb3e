// Package mirror maintains copies, in a separate NATS account, of the buckets that apps read, and
// reports their state.
//
// NATS does not check the subject to which a server sends an answer, so a user that may read one
// entry of an account can destroy the account's streams. Apps therefore have their own account,
// APPS, with nothing but mirrors of the buckets; see nats.conf. A syncer's user reaches the part of
// that account's JetStream API that mirrors need, below $JS.APPS.API.
//
// A syncer runs:
//
//	keeper := mirror.Keeper{NATS: nc, Log: log}
//	keeper.Run(ctx)
//
// Any number of keepers may run. They create missing mirrors and replace those that can never equal
// their bucket again, because the bucket was recreated or restored, its sequences went back, or
// entries were removed from it without a delete marker. A mirror that makes no progress behind its
// bucket gets another leader. Without an account APPS a keeper does nothing.
//
// Limits: a mirror is milliseconds behind its bucket. After the death of a server it makes no
// progress until its bucket has a leader again, and for some seconds more. Revisions are those of
// the bucket.
package mirror
