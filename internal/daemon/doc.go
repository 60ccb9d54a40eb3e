// Package daemon is what every long-running program of this module has around its work: settings, a log, signals,
// an admin listener, a NATS connection and an ordered stop. It knows nothing of the work itself.
//
// The common path is a main of one page:
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
// It guarantees that
//   - bad settings are reported all together, each with a hint, before anything is started (exit code 2);
//   - no secret setting is written to a log or an error;
//   - SIGINT and SIGTERM stop in order and exit with 0, a second signal ends the process at once;
//   - /readyz stops answering 200 before the work begins to stop, and is answered until it has stopped;
//   - a NATS server that is away, refuses the credentials or restarts makes a program unready, never ends it.
//
// Its limits: one NATS connection and one admin listener per process, which serves plain HTTP without
// authentication and so belongs on loopback or a private network.
package daemon
