package dev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"entitled/internal/tell"
	"entitled/stripesim"
)

// SimulatedKey is a key that the simulator accepts: it accepts every well-formed key.
const SimulatedKey = "sk_test_simulated"

// A Simulation is a simulated Stripe, served over HTTP, and its customers.
type Simulation struct {
	*stripesim.Sim
	// url is the base of its API.
	URL string

	// stories is the clock by which the customers of stories live.
	stories *stripesim.Clock
	server  *http.Server
	served  chan error
	// more, if not nil, returns the stories that are played beside the usual ones in a round.
	more func(round int) []stripesim.Story
	// run and round number the demo's customers, so that no two have the same id.
	run, round int
}

// A SimulationConfig says how a simulated Stripe starts.
type SimulationConfig struct {
	Seed uint64
	// run distinguishes the customers of this run from those of another with the same data.
	run    int
	Listen net.Listener
}

// StartSimulation serves a simulated Stripe. Its clock starts at the current time.
func StartSimulation(cfg SimulationConfig) *Simulation {
	sim := stripesim.New(stripesim.Config{Seed: cfg.Seed})
	s := &Simulation{
		Sim:     sim,
		stories: sim.Clock,
		URL:     "http://" + tell.LocalAddr(cfg.Listen.Addr()),
		server:  &http.Server{Handler: sim, ReadHeaderTimeout: 5 * time.Second},
		served:  make(chan error, 1),
		run:     max(1, cfg.run),
	}
	go func() { s.served <- s.server.Serve(cfg.Listen) }() // stop waits for it
	return s
}

// Deliver sends webhooks to url, for the own account and for connected ones, signed with secret. It
// returns the secret, a random one if secret is empty.
func (s *Simulation) Deliver(url, secret string) (drawn string) {
	var secrets []string
	if secret != "" {
		secrets = []string{secret}
	}
	w := s.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: url, Secrets: secrets})
	s.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: url, Secrets: w.Secrets, Connect: true})
	return w.Secrets[0]
}

// Stop ends the deliveries and the server.
func (s *Simulation) Stop() error {
	s.Close()
	err := s.server.Close()
	if serr := <-s.served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(serr, err)
	}
	if err != nil {
		return fmt.Errorf("simulator at %s: %w", s.URL, err)
	}
	return nil
}

// Wait returns nil when ctx ends, or earlier the error of the server.
func (s *Simulation) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.served:
		s.served <- err // for stop
		return err
	}
}

// roundPause is the time between two rounds of stories.
const roundPause = 3 * time.Second

// Play plays the stories again and again, each time with new customers, until ctx ends. The
// customers of the round before leave meanwhile, so that their number stays small. pace is the time
// between two steps. tell, if not nil, is called for each step.
func (s *Simulation) Play(ctx context.Context, pace time.Duration, tell func(stripesim.Progress)) error {
	if err := s.DemoCatalog(); err != nil {
		return err
	}
	var before []stripesim.Story
	for {
		s.round++
		stories := stripesim.Stories()
		if s.more != nil {
			stories = append(stories, s.more(s.round)...)
		}
		for i := range stories {
			stories[i].Customer = s.customerID(stories[i].Name)
		}
		err := s.stories.RunStories(ctx, append(leaving(before), stories...), pace, tell)
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

// customerID is readable, and unlike that of any other round or run: cus_Amelia, cus_Amelia_2,
// cus_Amelia_r2, cus_Amelia_r2_2.
func (s *Simulation) customerID(name string) string {
	id := "cus_" + strings.ToUpper(name[:1]) + name[1:]
	if s.run > 1 {
		id += "_r" + strconv.Itoa(s.run)
	}
	if s.round > 1 {
		id += "_" + strconv.Itoa(s.round)
	}
	return id
}

// leaving ends the stories: each customer that still has a subscription cancels it.
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

// misbehave makes webhooks come as Stripe's do: a little after the fact, out of order, some twice.
func (s *Simulation) misbehave() {
	s.SetFaults(stripesim.Faults{WebhookDelay: stripesim.Range{Min: 20 * time.Millisecond,
		Max: 80 * time.Millisecond}, WebhookDuplicate: 0.05})
}
