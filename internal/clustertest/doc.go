// Package clustertest tries the whole pipeline on a cluster of three NATS servers that are killed, restarted, cut off and
// slowed down while events flow: webhooks from a simulated Stripe, real ingests, real syncers, three replicas, every write
// synced to disk.
//
// A run of some seconds belongs to the normal suite. A longer one:
//
//	go test ./internal/clustertest -run Rounds -cluster.rounds 12 -v -timeout 30m
//
// Its limit: the servers are in the test's process. One that is killed here has all it wrote to its files, synced or not;
// what a disk loses is tried elsewhere.
package clustertest
