package chaos

import (
	"flag"
	"log/slog"
	"os"
	"testing"
	"time"

	"entitled/internal/natstest"
	"entitled/internal/timing"
)

var (
	long = flag.Duration("for", 0, "how long TestHistory lasts; 0 is a few seconds")
	many = flag.Int("replicas", 1, "number of servers for TestHistory: 1, or 3, each a process")
	seed = flag.Uint64("seed", 1, "seed of the runs")
	loud = flag.Bool("loud", false, "log each fault, and show the logs of the daemons")
)

func logger() *slog.Logger {
	if !*loud {
		return silent()
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// restarting is a natstest.Server as a run wants it.
type restarting struct{ *natstest.Server }

func (s restarting) Restart() error { s.Server.Restart(); return nil }

// A short history with every fault, on one server. `entitled bench chaos --for 30m --seed N` makes
// longer ones, and with --replicas 3 those on three.
func TestHistory(t *testing.T) {
	t.Parallel()
	cfg := Config{Seed: *seed, For: 2 * time.Second, Customers: 200, Patience: 1500 * time.Millisecond,
		Timing: natstest.Timing, Log: logger()}
	if *many == 1 {
		cfg.Server = restarting{natstest.Run(t, natstest.SyncAlways)}
	} else {
		cfg.Server = startNATS(t, *many, t.TempDir(), false)
	}
	if *long > 0 {
		cfg.For, cfg.Patience, cfg.Timing = *long, 0, timing.Production
	}
	report, err := Run(t.Context(), cfg)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if report.Accepted == 0 || report.Syncs == 0 || report.Revisions == 0 || report.Documents == 0 ||
		report.Crashes+report.Cuts == 0 {
		t.Error("a run in which nothing happened proves nothing")
	}
}
