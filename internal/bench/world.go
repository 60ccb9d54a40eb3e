package bench

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/stripesim"
)

// A world is the whole pipeline, with customers of a simulated Stripe that have one subscription
// each.
type world struct {
	children
	nats, ingest *child
	sim          *stripesim.Sim
	stripe       string // its URL
	price        string
	nc           *nats.Conn
	closers      []func()
}

// newWorld starts everything but a client, which needs the bucket that the first syncer creates.
func newWorld(ctx context.Context, b *bench, syncers int, stripe http.Handler) (w *world, err error) {
	w = &world{sim: stripesim.New(stripesim.Config{Seed: 1, Livemode: true})}
	w.closers = append(w.closers, w.sim.Close)
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if stripe == nil {
		stripe = w.sim
	}
	addr, stop, err := serveHTTP(stripe)
	if err != nil {
		return w, err
	}
	w.closers = append(w.closers, stop)
	product, err := w.sim.CreateProduct(stripesim.ProductParams{Name: "Pro"})
	if err != nil {
		return w, err
	}
	if w.price, err = w.sim.CreatePrice(stripesim.PriceParams{Product: product, LookupKey: "pro"}); err != nil {
		return w, err
	}
	if w.ingest, w.nats, err = newIngest(ctx, b, &w.children, false); err != nil {
		return w, err
	}
	w.stripe = "http://" + addr
	for range syncers {
		if _, err = w.startSyncer(ctx, b); err != nil {
			return w, err
		}
	}
	if w.nc, err = nats.Connect(w.nats.addr); err != nil {
		return w, err
	}
	w.closers = append(w.closers, w.nc.Close)
	return w, nil
}

func (w *world) startSyncer(ctx context.Context, b *bench) (*child, error) {
	return w.start(ctx, b, order{Role: roleSyncer, NATS: w.nats.addr, Stripe: w.stripe})
}

func (w *world) close() {
	for _, f := range w.closers {
		f()
	}
	w.stop()
}

func customerID(i int) string { return fmt.Sprintf("cus_%014d", i) }

// populate creates the customers first to first+n in Stripe without events, and returns their
// subscriptions.
func (w *world) populate(first, n int) (subs []string, err error) {
	err = w.sim.Load(func(l *stripesim.Loader) error {
		for i := first; i < first+n; i++ {
			id, err := l.Customer(stripesim.CustomerParams{ID: customerID(i)})
			if err != nil {
				return err
			}
			sub, err := l.Subscription(stripesim.SubscriptionParams{
				Customer: id, Items: []stripesim.ItemParams{{Price: w.price}},
			})
			if err != nil {
				return err
			}
			subs = append(subs, sub)
		}
		return nil
	})
	return subs, err
}

// A seen is a change as a watcher's callback received it.
type seen struct {
	change entitlement.Change
	at     time.Time
}

// watch opens a client and sends the changes of its watch. cancel stops both and waits for their
// end.
func watch(ctx context.Context, nc *nats.Conn) (changes <-chan seen, cancel func(), err error) {
	client, err := entitlement.Open(ctx, nc, entitlement.Live, nil)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	out, ended := make(chan seen, 1024), make(chan struct{})
	go func() { // cancel waits for it
		defer close(ended)
		for c := range client.Watch(ctx) {
			select {
			case out <- seen{c, time.Now()}:
			case <-ctx.Done():
			}
		}
	}()
	return out, func() {
		stop()
		<-ended
		_ = client.Close() // always nil
	}, nil
}
