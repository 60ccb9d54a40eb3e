package stripeapi

// A Kind is what a request to Stripe is made for. No kind can starve another: see [Budget].
type Kind int

const (
	// Webhooks are syncs of customers that a webhook marked.
	Webhooks Kind = iota
	// Requests are syncs that an app waits for (entitled.sync).
	Requests
	// Bulk is all that can wait: wakes, replays, sweeps, the recovery of lost events.
	Bulk
)

var kinds = [...]Kind{Webhooks, Requests, Bulk}

// String is the kind's name in metrics; webhooks and bulk work have the name of their lane.
func (k Kind) String() string { return [...]string{"now", "request", "bulk"}[k] }
