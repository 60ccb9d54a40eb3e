package stripesim

import (
	"math"
	"strings"
)

// view renders objects as they were at one stamp, in the shape of one API version. Its methods run
// under the world's lock; their results may be used without it.
type view struct {
	w     *world
	at    int64
	basil bool // periods on the items, not on the subscription
	full  bool // inline lists have every object
}

const now = int64(math.MaxInt64)

// basil reports whether a version is 2025-03-31 or newer.
func basil(version string) bool {
	date, _, _ := strings.Cut(version, ".")
	return date >= "2025-03-31"
}

func (t *tx) view() view {
	return view{w: t.world, at: now, basil: basil(t.sim.cfg.APIVersion)}
}

func (t *tx) wireSub(s *Subscription) any     { return t.view().subscription(s, nil) }
func (t *tx) wireCustomer(c *Customer) any    { return t.view().customer(c, nil) }
func (t *tx) wireMethod(m *paymentMethod) any { return t.view().method(m, nil) }
func (t *tx) wireProduct(p *product) any      { return t.view().product(p, nil) }
func (t *tx) wirePrice(p *price) any          { return t.view().price(p, nil) }
func (t *tx) wireInvoice(i *invoice) any      { return t.view().invoice(i, nil) }
func (t *tx) wireSummary(c *Customer) any     { return t.view().summary(c) }

func metadata(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// ref returns an id, or the object if it is expanded, or null without an id.
func ref(id string, expanded bool, object func() any) any {
	switch {
	case id == "":
		return nil
	case expanded:
		return object()
	}
	return id
}
