// Package natstest runs real NATS servers with JetStream inside a test: one, or a cluster. Only tests import it.
//
// The common path:
//
//	s := natstest.Run(t)
//	js := s.JetStream(t)
//
// Every server listens on a port of its own on loopback, keeps its store under the test's temporary directory, takes
// no signals and is stopped when the test ends; so tests run in parallel. A single server starts in a few
// milliseconds, a cluster of three in less than a second, most of which is the election of its meta leader.
//
// Its limit: a server listens on the same port after [Server.Restart], so that clients find it again; another process
// may take that port while the server is down.
package natstest
