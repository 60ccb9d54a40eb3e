package wire

// Setup is a JSON object of Stripe's API.
type Setup struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Created       int64             `json:"created"`
	Customer      *string           `json:"customer"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	PaymentMethod *string           `json:"payment_method"`
	Status        string            `json:"status"`
	Usage         string            `json:"usage"`
}

// Session is a JSON object of Stripe's API.
type Session struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	AmountTotal   int64             `json:"amount_total"`
	CancelURL     *string           `json:"cancel_url"`
	Reference     *string           `json:"client_reference_id"`
	Created       int64             `json:"created"`
	Currency      string            `json:"currency"`
	Customer      *string           `json:"customer"`
	Email         *string           `json:"customer_email"`
	ExpiresAt     int64             `json:"expires_at,omitempty"`
	Invoice       *string           `json:"invoice"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Mode          string            `json:"mode"`
	PaymentIntent *string           `json:"payment_intent"`
	PaymentStatus string            `json:"payment_status"`
	Status        string            `json:"status"`
	Subscription  *string           `json:"subscription"`
	SuccessURL    *string           `json:"success_url"`
	URL           *string           `json:"url"`
}

// PortalSession is a session of the customer portal.
type PortalSession struct {
	ID            string  `json:"id"`
	Object        string  `json:"object"`
	Configuration string  `json:"configuration"`
	Created       int64   `json:"created"`
	Customer      string  `json:"customer"`
	Livemode      bool    `json:"livemode"`
	Locale        *string `json:"locale"`
	ReturnURL     *string `json:"return_url"`
	URL           string  `json:"url"`
}
