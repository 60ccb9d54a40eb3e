// Package tell holds the words of the command line: how a snapshot, a change, a customer's story, a
// report and a hint read.
//
// It prints what other packages found, and asks neither NATS nor Stripe. All of it is tested
// against the files in testdata.
package tell
