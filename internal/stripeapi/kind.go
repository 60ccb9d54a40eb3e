package stripeapi

// A Kind is the purpose of a request to Stripe. No kind can starve another: see package budget.
type Kind int

const (
	// Webhooks are syncs of customers that a webhook marked.
	Webhooks Kind = iota
	// Requests are syncs that an app waits for (entitled.sync).
	Requests
	// Bulk is all other work, which can wait: wakes, replays, sweeps, the recovery of lost events.
	Bulk
)

// String returns the kind's name in metrics. Webhooks and bulk work have the names of their lanes.
func (k Kind) String() string { return [...]string{"now", "request", "bulk"}[k] }
