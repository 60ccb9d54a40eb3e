package wire

import "encoding/json"

// Event is the envelope of API answers and of webhook bodies.
type Event struct {
	ID         string          `json:"id"`
	Object     string          `json:"object"`
	Account    string          `json:"account,omitempty"`
	APIVersion string          `json:"api_version"`
	Created    int64           `json:"created"`
	Data       json.RawMessage `json:"data"`
	Livemode   bool            `json:"livemode"`
	Pending    int64           `json:"pending_webhooks"`
	Request    EventRequest    `json:"request"`
	Type       string          `json:"type"`
}

// EventRequest is a JSON object of Stripe's API.
type EventRequest struct {
	ID             *string `json:"id"`
	IdempotencyKey *string `json:"idempotency_key"`
}

// Account is a JSON object of Stripe's API.
type Account struct {
	ID             string `json:"id"`
	Object         string `json:"object"`
	ChargesEnabled bool   `json:"charges_enabled"`
	Country        string `json:"country"`
	Currency       string `json:"default_currency"`
	Type           string `json:"type"`
}
