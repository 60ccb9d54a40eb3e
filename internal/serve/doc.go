// Package serve runs what `entitled serve` runs: a nats-server, ingest, a syncer and a gateway in one
// process, with their data and their keys in one directory.
//
// The directory is all that there is. [Run] makes what is missing of it, and from then on reads it:
//
//	nats.conf             the shipped nats.conf, with the store in this directory
//	nats-passwords.conf   random passwords for its users
//	gateway-keys          a random server key for the gateway
//	gateway-token-secret  a random secret for customer tokens
//	nats/                 the streams and buckets
//	lock                  locked while a process uses the directory
//
// Each file appears whole or not at all, nats.conf last. Every part connects as its own NATS user, with
// the permissions that it has in a process of its own; so `nats-server -c nats.conf` and the daemons go
// on where this process stopped.
package serve
