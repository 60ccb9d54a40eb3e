// Package clustertest tries the whole pipeline on a cluster of three nats-servers, each a process,
// that are killed, paused, restarted, cut off and slowed down while events flow: webhooks from a
// simulated Stripe, real ingests, real syncers, three replicas, every write synced to disk.
//
// Three runs of twenty seconds, at the same time, belong to the normal suite. Longer ones, of
// which the second measures the cost of a server's death:
//
//	go test ./internal/clustertest -run Rounds -cluster.rounds 12 -v -timeout 30m
//	go test ./internal/clustertest -run Deaths -cluster.deaths 24 -v -timeout 30m
//
// Its limit: a server that is killed has all that it wrote in the page cache, synced or not; what a
// disk loses is tried in internal/chaos.
package clustertest
