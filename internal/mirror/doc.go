// Package mirror keeps copies of the buckets that apps read in an account of their own, and says how the copies are.
//
// NATS does not check where the server sends an answer, so a user that reads one entry of an account can destroy the streams of that
// account. Apps therefore have an account of their own, APPS, that holds mirrors of the buckets and nothing else; see
// nats.conf. The user of a syncer reaches the JetStream API of that account, as far as the mirrors need it, below $JS.APPS.API.
//
// The common path of a syncer:
//
//	keeper := mirror.Keeper{NATS: nc, Log: log}
//	keeper.Run(ctx)
//
// Any number of keepers may run. A mirror is made where it is missing, and replaced where it can never equal its bucket again: the
// bucket was created again or restored, its sequences went back, or entries were removed from it without a marker. A mirror that
// stands still behind its bucket gets another leader. Where there is no account APPS a keeper does nothing.
//
// Limits: a mirror follows its bucket by milliseconds. After the death of a server it stands still until its bucket has a leader
// again, and for some seconds more. Revisions are those of the bucket.
package mirror
