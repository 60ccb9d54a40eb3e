package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"entitled/stripesim"
)

// The burst of events of a checkout: their number, spread evenly over a time that varies per
// customer. Each changes something in the snapshot.
const (
	burstEvents  = 10
	burstSpread  = 1500 * time.Millisecond
	burstStretch = .15
	// burstStagger spreads the bursts, so that they do not all begin at once.
	burstStagger = 40 * time.Millisecond
)

// fetchLatency is the simulated Stripe's response time.
var fetchLatency = stripesim.Range{Min: 80 * time.Millisecond, Max: 230 * time.Millisecond}

// A burst is the observation of one customer.
type burst struct {
	// sent and shown are when change i was made, and when a snapshot with it or a later one
	// arrived.
	sent, shown [burstEvents]time.Time
}

func runBurst(ctx context.Context, b *bench) ([]Result, error) {
	w, err := newWorld(ctx, b, 3, nil)
	if err != nil {
		return nil, err
	}
	defer w.close()
	perRound := b.pick(60, 3)
	subs, err := w.populate(0, perRound*b.Rounds)
	if err != nil {
		return nil, err
	}
	changes, stop, err := watch(ctx, w.nc)
	if err != nil {
		return nil, err
	}
	defer stop()
	w.sim.SetFaults(stripesim.Faults{Latency: fetchLatency})
	w.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{
		URL: "http://" + w.ingest.addr + "/webhooks/stripe", Secrets: []string{signingSecret}, Livemode: true,
	})
	var fetches, first, final []float64
	for round := range b.Rounds {
		b.Progress(fmt.Sprintf("burst: round %d of %d", round+1, b.Rounds))
		before := w.sim.Stats().Requests
		begin := round * perRound
		bursts, err := runBursts(ctx, w.sim, begin, subs[begin:begin+perRound], changes)
		if err != nil {
			return nil, err
		}
		// Requests after the last visible state belong to the burst too: the wait exceeds the
		// longest claim of such a burst.
		if err := sleep(ctx, time.Duration(b.pick(5000, 200))*time.Millisecond); err != nil {
			return nil, err
		}
		fetches = append(fetches, float64(w.sim.Stats().Requests-before)/float64(perRound))
		var f, l []float64
		for _, x := range bursts {
			f = append(f, ms(x.shown[0].Sub(x.sent[0])))
			l = append(l, ms(x.shown[burstEvents-1].Sub(x.sent[burstEvents-1])))
		}
		first, final = append(first, median(f)), append(final, median(l))
	}
	return []Result{
		over("requests to Stripe for a checkout's burst", "", fetches).atMost(3.6).
			of("%d events over 1.5 s ± 15 %%, 3 syncers, Stripe answers in 80 – 230 ms, %d bursts a round",
				burstEvents, perRound),
		over("first change visible, p50", "ms", first),
		over("last change visible, p50", "ms", final),
	}, nil
}

// runBursts makes the bursts of the customers from first on, and returns when the last state of
// each was visible.
func runBursts(ctx context.Context, sim *stripesim.Sim, first int, subs []string,
	changes <-chan seen) ([]burst, error) {
	bursts := make([]burst, len(subs))
	g, ctx := errgroup.WithContext(ctx)
	for i, sub := range subs {
		g.Go(func() error {
			if err := sleep(ctx, time.Duration(i)*burstStagger); err != nil {
				return err
			}
			stretch := 1 + burstStretch*(2*rand.Float64()-1)
			step := time.Duration(stretch * float64(burstSpread) / (burstEvents - 1))
			start := time.Now()
			for n := range burstEvents {
				if err := sleep(ctx, time.Until(start.Add(time.Duration(n)*step))); err != nil {
					return err
				}
				bursts[i].sent[n] = time.Now()
				if err := sim.UpdateSubscription(sub, map[string]string{"n": strconv.Itoa(n)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error { return watchBursts(ctx, first, bursts, changes) })
	return bursts, g.Wait()
}

func watchBursts(ctx context.Context, first int, bursts []burst, changes <-chan seen) error {
	index := map[string]int{}
	for i := range bursts {
		index[customerID(first+i)] = i
	}
	late := time.NewTimer(patience + time.Duration(len(bursts))*burstStagger + 2*burstSpread)
	defer late.Stop()
	for left := len(bursts); left > 0; {
		select {
		case s := <-changes:
			i, ours := index[s.change.Key]
			if !ours || len(s.change.Snapshot.Subscriptions) == 0 {
				continue
			}
			n, err := strconv.Atoi(s.change.Snapshot.Subscriptions[0].Metadata["n"])
			if err != nil {
				continue // from before the burst
			}
			for ; n >= 0 && bursts[i].shown[n].IsZero(); n-- {
				bursts[i].shown[n] = s.at
				if n == burstEvents-1 {
					left--
				}
			}
		case <-late.C:
			return fmt.Errorf("%d of %d bursts did not show their last state in time", left, len(bursts))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
