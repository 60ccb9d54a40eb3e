// Package daemon is the frame of every long-running program of this module: settings, a log,
// signals, an admin listener, a NATS connection and an orderly stop. It does not know the work
// itself.
//
// A main is one page:
//
//	func main() { os.Exit(daemon.Main("ingest", run)) }
//
//	func run(ctx context.Context, p daemon.Process) error {
//		var s settings                                // string fields, tags name flag, variable, default and help
//		c, err := p.Parse("Does one thing.", &s)      // flags, environment, defaults
//		…
//		every := c.Duration("EVERY", s.Every, daemon.Between(time.Second, time.Hour))
//		if err := c.Err(); err != nil {               // all bad settings at once
//			return err
//		}
//		svc := daemon.Service{…}
//		return svc.Run(ctx, func(ctx context.Context, nc *nats.Conn) error { … })
//	}
//
// Guarantees:
//   - Settings that are not valid are reported together, each with a hint, before anything is started
//     (exit code 2).
//   - No secret setting is written to a log or an error.
//   - SIGINT and SIGTERM stop in order and exit with 0; a second signal ends the process at once.
//   - /readyz answers 503 before the work begins to stop, and until it has stopped.
//   - A NATS server that is down, restarts or refuses the credentials makes a program unready and never
//     ends it.
//
// Limits: one NATS connection and one admin listener per process. The listener serves plain HTTP
// without authentication, so it belongs on loopback or a private network.
package daemon
