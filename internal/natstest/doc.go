// Package natstest runs real NATS servers with JetStream inside a test: one, or a cluster. Only
// tests import it.
//
//	s := natstest.Run(t)
//	js := s.JetStream(t)
//
// Every server listens on its own port on loopback, has its store in the test's temporary
// directory, handles no signals, and stops when the test ends; so tests run in parallel. A single
// server starts in a few milliseconds, a cluster of three in less than a second, mostly for the
// election of its meta leader.
//
// Limit: a server listens on the same port after [Server.Restart], so that clients find it again;
// another process may take that port while the server is down.
package natstest
