// Package wire has the JSON objects of Stripe's API that the simulator renders.
package wire

// List is Stripe's list envelope.
type List struct {
	Object  string `json:"object"`
	Data    any    `json:"data"`
	HasMore bool   `json:"has_more"`
	Total   *int   `json:"total_count,omitempty"`
	URL     string `json:"url"`
}
