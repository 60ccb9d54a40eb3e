// Package bench measures the cost of the pipeline, always as a ratio to a yardstick that runs in
// the same minutes on the same cores. [Run] runs groups of rows and returns a [Report];
// [Report.Table] is for people, [Chart] for a README.
//
// The nats-server, ingest, the syncers and the servers that they are compared with are separate
// processes, as in production; the load generator and the simulated Stripe are this process.
// Everything listens on loopback and has its data in one temporary directory, and nothing is left
// when Run returns.
//
// Limits. Other load on the machine changes ratios less than rates, but it does: so rounds are
// interleaved, and the spread is printed beside the median. CPU and memory of processes are known
// only on Unix.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Config configures [Run].
type Config struct {
	// Command is the program that calls [Child], with its arguments.
	Command []string
	// Syncer is the path of the program syncer, for the row of its memory. If it is empty, Command stands
	// for it.
	Syncer string
	// Rounds is how often each row is measured; plans, backfill and outage at most 3 times. Defaults to 5.
	Rounds int
	// Rows are the groups to run, see [Groups]; all when empty.
	Rows []string
	// Quick makes every measurement so short that its numbers mean nothing, to check that
	// everything works.
	Quick bool
	// Customers is the number of snapshots and markers for the row of the syncer's memory, of
	// snapshots for those of readers and plans, and the greatest number for those of growth. Defaults to 100,000.
	Customers int
	// Profiles is a directory for CPU profiles of the child processes; none if empty.
	Profiles string
	// Progress receives what is being measured.
	Progress func(string)
}

// A Group is a set of rows that are measured together.
type Group struct {
	Name, About string
	run         func(ctx context.Context, b *bench) ([]Result, error)
}

// Groups returns all groups, in the order of the table.
func Groups() []Group {
	return []Group{
		{"ingest", "webhooks per second and CPU, against Gin alone, ConstructEvent and bare JetStream", runIngest},
		{"latency", "from a webhook to the watcher's callback", runLatency},
		{"burst", "requests to Stripe for the events of one checkout", runBurst},
		{"has", "Client.Has", runHas},
		{"readers", "Open and the memory of clients with many customers", runReaders},
		{"memory", "a syncer in front of many snapshots and markers", runMemory},
		{"growth", "ingest's cost per event with many customers", runGrowth},
		{"plans", "a plans document for many customers, with webhooks meanwhile", runPlans},
		{"gateway", "answers against Gin alone, memory and delay of open streams", runGateway},
		{"serve", "everything in one process: its start and its memory", runServe},
		{"console", "each page of the console with many customers", runConsole},
		{"backfill", "a whole account into an empty bucket", runBackfill},
		{"outage", "syncers that come back to many dirty customers", runOutage},
	}
}

// bench is one run.
type bench struct {
	Config
	dir string
	// dirs counts the created directories.
	dirs int
}

// Run measures. It takes a few minutes, and ends early if ctx does.
func Run(ctx context.Context, c Config) (r *Report, err error) {
	if c.Rounds == 0 {
		c.Rounds = 5
	}
	if c.Customers == 0 {
		c.Customers = 100_000
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	groups := Groups()
	for _, name := range c.Rows {
		if !slices.ContainsFunc(groups, func(g Group) bool { return g.Name == name }) {
			return nil, &UnknownRowsError{Name: name, Known: names(groups)}
		}
	}
	dir, err := os.MkdirTemp("", "entitled-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{Config: c, dir: dir}
	r = newReport(c)
	for _, g := range groups {
		if len(c.Rows) > 0 && !slices.Contains(c.Rows, g.Name) {
			continue
		}
		start := time.Now()
		results, err := g.run(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("bench %s: %w", g.Name, err)
		}
		for i := range results {
			results[i].Group = g.Name
		}
		r.Results = append(r.Results, results...)
		c.Progress(fmt.Sprintf("%s: done in %s", g.Name, time.Since(start).Round(time.Second)))
	}
	return r, nil
}

// An UnknownRowsError reports names in Config.Rows that are not in [Groups].
type UnknownRowsError struct {
	Name  string
	Known []string
}

func (e *UnknownRowsError) Error() string { return fmt.Sprintf("no rows named %q", e.Name) }

func names(groups []Group) (all []string) {
	for _, g := range groups {
		all = append(all, g.Name)
	}
	return all
}

// pick returns n, or quick in a quick run.
func (b *bench) pick(n, quick int) int {
	if b.Quick {
		return quick
	}
	return n
}

// start starts a child, which the returned cleanup stops.
func (b *bench) start(ctx context.Context, o order) (*child, error) {
	if o.Role == roleNATS {
		b.dirs++
		o.Dir = filepath.Join(b.dir, fmt.Sprintf("nats-%d", b.dirs))
	}
	o.Quick = b.Quick
	if b.Profiles != "" {
		b.dirs++
		o.Profile = filepath.Join(b.Profiles, fmt.Sprintf("%02d-%s.pprof", b.dirs, o.Role))
	}
	return spawn(ctx, b.Command, o)
}

// children are stopped together, the last one first.
type children []*child

func (all *children) start(ctx context.Context, b *bench, o order) (*child, error) {
	c, err := b.start(ctx, o)
	if err == nil {
		*all = append(*all, c)
	}
	return c, err
}

func (all *children) stop() {
	for _, c := range slices.Backward(*all) {
		c.stop()
	}
}
