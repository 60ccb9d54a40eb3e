package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"entitled/internal/stripesim"
)

// simulatedKey is a key that the simulator accepts; it accepts all that are well formed.
const simulatedKey = "sk_test_simulated"

// A simulation is a simulated Stripe, served over HTTP, and the customers who live in it.
type simulation struct {
	*stripesim.Sim
	// url is the base of its API.
	url string

	server *http.Server
	served chan error
	// run and round number the demo's customers, so that no two have the same id.
	run, round int
}

type simulationConfig struct {
	seed uint64
	// run tells the customers of one run from those of another that used the same data.
	run    int
	listen net.Listener
}

// startSimulation serves a simulator. Its clock starts now.
func startSimulation(cfg simulationConfig) *simulation {
	sim := stripesim.New(stripesim.Config{Seed: cfg.seed})
	s := &simulation{
		Sim:    sim,
		url:    "http://" + localAddr(cfg.listen.Addr()),
		server: &http.Server{Handler: sim, ReadHeaderTimeout: 5 * time.Second},
		served: make(chan error, 1),
		run:    max(1, cfg.run),
	}
	go func() { s.served <- s.server.Serve(cfg.listen) }() // stop waits for it
	return s
}

// localAddr is how this machine reaches a listener: one that listens everywhere is on loopback too.
func localAddr(at net.Addr) string {
	if a, err := netip.ParseAddrPort(at.String()); err == nil && a.Addr().IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(a.Port())))
	}
	return at.String()
}

// deliver has webhooks sent to url, for the own account and for connected ones, signed with secret. An empty one is drawn.
func (s *simulation) deliver(url, secret string) (drawn string) {
	var secrets []string
	if secret != "" {
		secrets = []string{secret}
	}
	w := s.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: url, Secrets: secrets})
	s.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: url, Secrets: w.Secrets, Connect: true})
	return w.Secrets[0]
}

// stop ends deliveries and the server.
func (s *simulation) stop() error {
	s.Close()
	err := s.server.Close()
	if serr := <-s.served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(serr, err)
	}
	if err != nil {
		return fmt.Errorf("simulator at %s: %w", s.url, err)
	}
	return nil
}

// pause is the rest between two rounds of stories.
const roundPause = 3 * time.Second

// live plays the stories again and again, each time with new customers, until ctx ends; those of the round before leave
// meanwhile, so that their number stays what people can follow. pace is the wall time between two things that happen. tell, if
// not nil, hears of each.
func (s *simulation) live(ctx context.Context, pace time.Duration, tell func(stripesim.Told)) error {
	if err := s.DemoCatalog(); err != nil {
		return err
	}
	var before []stripesim.Story
	for {
		s.round++
		stories := stripesim.Stories()
		for i := range stories {
			stories[i].Customer = s.customerID(stories[i].Name)
		}
		err := s.RunStories(ctx, append(leaving(before), stories...), pace, tell)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		before = stories
		select {
		case <-time.After(max(roundPause, pace)):
		case <-ctx.Done():
			return nil
		}
	}
}

// customerID is readable, and unlike that of any other round or run: cus_Amelia, cus_Amelia_2, cus_Amelia_r2, cus_Amelia_r2_2.
func (s *simulation) customerID(name string) string {
	id := "cus_" + strings.ToUpper(name[:1]) + name[1:]
	if s.run > 1 {
		id += "_r" + strconv.Itoa(s.run)
	}
	if s.round > 1 {
		id += "_" + strconv.Itoa(s.round)
	}
	return id
}

// leaving are the ends of stories: whoever still has a subscription cancels it.
func leaving(stories []stripesim.Story) []stripesim.Story {
	var ends []stripesim.Story
	for i, st := range stories {
		at := time.Duration(i*4+1) * 24 * time.Hour
		ends = append(ends, stripesim.Story{
			Name: st.Name, About: "the end", Customer: st.Customer, Account: st.Account,
			Steps: []stripesim.Step{{At: at, Say: "leaves", Do: leave}},
		})
	}
	return ends
}

func leave(c *stripesim.Cast) error {
	truth, _ := c.Truth(c.Customer)
	for _, sub := range truth.Subscriptions {
		if sub.EndedAt != 0 {
			continue
		}
		if err := c.Cancel(sub.ID); err != nil {
			return err
		}
	}
	return nil
}

// listenAt opens a listener on addr, or, where that is only a default and taken, on a port that is free.
func listenAt(setting, addr, fallback string) (net.Listener, error) {
	l, err := net.Listen("tcp", cmp.Or(addr, fallback))
	if err != nil && addr == "" {
		host, _, _ := net.SplitHostPort(fallback)
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, withHint(fmt.Errorf("%s: %w", setting, err), "stop what has it, or choose another port; port 0 takes one that is free")
	}
	return l, nil
}

// misbehave makes webhooks come as Stripe's do: a little after the fact, out of order, some twice.
func (s *simulation) misbehave() {
	s.SetFaults(stripesim.Faults{WebhookDelay: stripesim.Range{Min: 20 * time.Millisecond, Max: 80 * time.Millisecond}, WebhookDuplicate: 0.05})
}
