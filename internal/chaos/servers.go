package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// A Cluster is a Server of several processes, each of which can fail by itself. Servers are counted
// from 0.
type Cluster interface {
	Server
	Size() int
	// Kill ends servers at once, Stop in order; Run starts servers that are down with their stores.
	Kill(servers ...int) error
	Stop(servers ...int) error
	Run(ctx context.Context, servers ...int) error
	// Pause stops servers, which keep their connections, until Resume.
	Pause(servers ...int) error
	Resume(servers ...int) error
	// Isolate blocks a server's traffic with the others, and with its clients if clients is true,
	// until Heal.
	Isolate(server int, clients bool)
	Heal(server int)
	// WaitReady waits until all servers run and are up to date, Agree until all have the same
	// messages in the streams.
	WaitReady(ctx context.Context) error
	Agree(ctx context.Context, streams ...string) error
	// StreamLeader returns the server that leads a stream, -1 for none.
	StreamLeader(ctx context.Context, stream string) int
	// Complaints returns the lines of the servers' logs about damaged stores.
	Complaints() ([]string, error)
}

// An outage is a temporary fault of servers.
type outage struct {
	what string
	// begin and end receive the servers.
	begin   func(servers ...int) error
	end     func(servers ...int) error
	servers int  // number of servers
	count   *int // in the report
}

func (s *stage) outages(ctx context.Context) []outage {
	c, r := s.cluster, &s.report
	run := func(servers ...int) error { return c.Run(ctx, servers...) }
	isolate := func(clients bool) func(...int) error {
		return func(servers ...int) error { c.Isolate(servers[0], clients); return nil }
	}
	heal := func(servers ...int) error { c.Heal(servers[0]); return nil }
	return []outage{
		{"kill one", c.Kill, run, 1, &r.Kills},
		{"kill one", c.Kill, run, 1, &r.Kills},
		{"kill two", c.Kill, run, 2, &r.Kills},
		{"kill all", c.Kill, run, c.Size(), &r.Kills},
		{"pause one", c.Pause, c.Resume, 1, &r.Pauses},
		{"pause two", c.Pause, c.Resume, 2, &r.Pauses},
		{"cut one off", isolate(true), heal, 1, &r.Isolations},
		{"cut one off from the others", isolate(false), heal, 1, &r.Isolations},
		{"stop one", c.Stop, run, 1, &r.Restarts},
		{"stop all", c.Stop, run, c.Size(), &r.Restarts},
	}
}

// breakServers begins an outage, and returns its description. The next one begins when all servers
// are well again. Half of the outages hit the leader of STRIPE_EVENTS.
func (s *stage) breakServers(ctx context.Context) string {
	all := s.outages(ctx)
	o, first, leader := all[s.fate.IntN(len(all))], s.fate.IntN(s.cluster.Size()), s.fate.IntN(2) == 0
	lasts := time.Duration(s.fate.Int64N(int64(s.cfg.Outage)))
	if !s.outage.CompareAndSwap(false, true) {
		return "servers are still out"
	}
	*o.count++
	s.desks.Go(func() { // calm waits for it
		defer s.outage.Store(false)
		if i := s.cluster.StreamLeader(ctx, topology.EventsStream); leader && i >= 0 {
			first = i
		}
		var hit []int
		for k := range o.servers {
			hit = append(hit, (first+k)%s.cluster.Size())
		}
		s.cfg.Log.Debug(o.what, "servers", hit, "for", lasts)
		err := o.begin(hit...)
		select {
		case <-time.After(lasts):
		case <-ctx.Done():
		}
		err = errors.Join(err, o.end(hit...), s.cluster.WaitReady(ctx))
		s.cfg.Log.Debug("servers are well again", "err", err)
		if err != nil {
			s.fleet.fail(fmt.Errorf("%s, servers %v: %w", o.what, hit, err))
		}
	})
	return o.what
}

// carry sends events without customer, of 24 to 80 KB, until the lap's freight is stored: a log is
// damaged only if it is larger than a block of the file store. Each is sent until it is answered
// 2xx.
func (s *stage) carry(ctx context.Context) {
	const carriers = 4
	lap := s.report.Laps
	for k := range carriers {
		s.desks.Go(func() { // calm waits for it
			for n, left := 0, s.cfg.Freight/carriers; left > 0 && ctx.Err() == nil; n++ {
				id := fmt.Sprintf("evt_freight_%d_%d_%d", lap, k, n)
				body := freight(id, 24_000+(3*k+n)%8*8000)
				for s.door.deliver(ctx, body) != http.StatusOK {
					select {
					case <-time.After(50 * time.Millisecond):
					case <-ctx.Done():
						return
					}
				}
				left -= len(body)
			}
		})
	}
}

func freight(id string, size int) []byte {
	line := fmt.Sprintf(`{"id":"il_%s","object":"line_item","amount":1000,"currency":"eur"},`, id)
	return fmt.Appendf(nil, `{"id":%q,"object":"event","type":"invoice.paid","livemode":false,`+
		`"data":{"object":{"id":"in_1"}},"lines":[%s{}]}`, id, strings.Repeat(line, size/len(line)))
}

// deliver sends an event like Stripe and returns the status of the answer.
func (d *door) deliver(ctx context.Context, body []byte) int {
	answer := &status{}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(string(body)))
	if err != nil {
		return 0
	}
	req.Header.Set("Stripe-Signature", stripesim.Sign(body, time.Now(), secret))
	d.ServeHTTP(answer, req)
	return answer.code
}

// A status is an answer of which only the code counts.
type status struct{ code int }

func (s *status) Header() http.Header         { return http.Header{} }
func (s *status) Write(b []byte) (int, error) { return len(b), nil }
func (s *status) WriteHeader(code int)        { s.code = code }

// level waits until all servers of a cluster have the same content.
func (s *stage) level(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	if err := s.cluster.WaitReady(ctx); err != nil {
		return err
	}
	return s.cluster.Agree(ctx, topology.EventsStream, topology.SyncedStream, "KV_"+entitlement.Bucket(mode))
}

// whole: no server's log reports a damaged store.
func (s *stage) whole() error {
	if s.cluster == nil {
		return nil
	}
	lines, err := s.cluster.Complaints()
	if err == nil && len(lines) > 0 {
		err = fmt.Errorf("%d lines of the servers' logs report damage:\n%s",
			len(lines), strings.Join(lines[:min(len(lines), 20)], "\n"))
	}
	return err
}
