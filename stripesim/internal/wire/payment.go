package wire

// Invoice is a JSON object of Stripe's API.
type Invoice struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	AmountDue          int64             `json:"amount_due"`
	AmountPaid         int64             `json:"amount_paid"`
	AmountRemaining    int64             `json:"amount_remaining"`
	AttemptCount       int64             `json:"attempt_count"`
	Attempted          bool              `json:"attempted"`
	AutoAdvance        bool              `json:"auto_advance"`
	BillingReason      string            `json:"billing_reason"`
	CollectionMethod   string            `json:"collection_method"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	Customer           any               `json:"customer"`
	HostedInvoiceURL   *string           `json:"hosted_invoice_url"`
	Lines              List              `json:"lines"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	NextPaymentAttempt *int64            `json:"next_payment_attempt"`
	Number             *string           `json:"number"` // null for a draft
	Paid               *bool             `json:"paid,omitempty"`
	Parent             *InvoiceParent    `json:"parent,omitempty"`
	PaymentIntent      *string           `json:"payment_intent,omitempty"`
	PeriodEnd          int64             `json:"period_end"`
	PeriodStart        int64             `json:"period_start"`
	Status             string            `json:"status"`
	Subscription       any               `json:"subscription,omitempty"`
	Subtotal           int64             `json:"subtotal"`
	Total              int64             `json:"total"`
}

// InvoiceParent names the subscription in versions from basil on.
type InvoiceParent struct {
	Type    string `json:"type"`
	Details struct {
		Metadata     map[string]string `json:"metadata"`
		Subscription string            `json:"subscription"`
	} `json:"subscription_details"`
}

// Line is a JSON object of Stripe's API.
type Line struct {
	ID       string `json:"id"`
	Object   string `json:"object"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Livemode bool   `json:"livemode"`
	Period   Period `json:"period"`
	Quantity int64  `json:"quantity"`
}

// Period is a JSON object of Stripe's API.
type Period struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// Intent is a JSON object of Stripe's API.
type Intent struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	Amount         int64             `json:"amount"`
	AmountReceived int64             `json:"amount_received"`
	Created        int64             `json:"created"`
	Currency       string            `json:"currency"`
	Customer       *string           `json:"customer"`
	LatestCharge   *string           `json:"latest_charge"`
	Livemode       bool              `json:"livemode"`
	Metadata       map[string]string `json:"metadata"`
	PaymentMethod  *string           `json:"payment_method"`
	Types          []string          `json:"payment_method_types"`
	Status         string            `json:"status"`
}

// Charge is a JSON object of Stripe's API.
type Charge struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Amount        int64             `json:"amount"`
	Captured      bool              `json:"captured"`
	Created       int64             `json:"created"`
	Currency      string            `json:"currency"`
	Customer      *string           `json:"customer"`
	FailureCode   *string           `json:"failure_code"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Paid          bool              `json:"paid"`
	PaymentIntent *string           `json:"payment_intent"`
	PaymentMethod *string           `json:"payment_method"`
	Refunded      bool              `json:"refunded"`
	Status        string            `json:"status"`
}

// Proration is a JSON object of Stripe's API.
type Proration struct {
	ID           string `json:"id"`
	Object       string `json:"object"`
	Amount       int64  `json:"amount"`
	Currency     string `json:"currency"`
	Customer     string `json:"customer"`
	Date         int64  `json:"date"`
	Livemode     bool   `json:"livemode"`
	Period       Period `json:"period"`
	Proration    bool   `json:"proration"`
	Subscription string `json:"subscription"`
}
