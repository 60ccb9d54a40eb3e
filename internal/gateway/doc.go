// Package gateway answers over HTTP what a customer is entitled to, for any language and for the
// browser: decisions, features and limits, a stream of server-sent events per customer, and
// OpenFeature's remote evaluation protocol (OFREP).
//
// # Guarantees
//
//   - Answers come from memory. While NATS is away they are the last known state, and stale_since
//     says since when.
//   - An unknown customer, feature or limit is no error: it has the default's grants, and otherwise
//     false and 0.
//   - A customer token sees its own customer only. The algorithm of a token comes from the
//     settings.
//   - A stream begins with the whole state and ends with the newest one. A reader that is slower
//     than a write's deadline is dropped; no other reader waits for it.
//
// # Limits
//
// A gateway serves one mode. It speaks plain HTTP/1.1: TLS and HTTP/2 belong in front of it.
package gateway
