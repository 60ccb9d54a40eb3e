package wire

// Subscription is a JSON object of Stripe's API.
type Subscription struct {
	ID                    string            `json:"id"`
	Object                string            `json:"object"`
	Application           *string           `json:"application"`
	ApplicationFeePercent *float64          `json:"application_fee_percent"`
	AutomaticTax          AutomaticTax      `json:"automatic_tax"`
	BillingCycleAnchor    int64             `json:"billing_cycle_anchor"`
	AnchorConfig          *struct{}         `json:"billing_cycle_anchor_config"`
	BillingThresholds     *struct{}         `json:"billing_thresholds"`
	CancelAt              *int64            `json:"cancel_at"`
	CancelAtPeriodEnd     bool              `json:"cancel_at_period_end"`
	CanceledAt            *int64            `json:"canceled_at"`
	CancellationDetails   Cancellation      `json:"cancellation_details"`
	CollectionMethod      string            `json:"collection_method"`
	Created               int64             `json:"created"`
	Currency              string            `json:"currency"`
	CurrentPeriodEnd      *int64            `json:"current_period_end,omitempty"`
	CurrentPeriodStart    *int64            `json:"current_period_start,omitempty"`
	Customer              any               `json:"customer"`
	DaysUntilDue          *int64            `json:"days_until_due"`
	DefaultPaymentMethod  any               `json:"default_payment_method"`
	DefaultSource         *string           `json:"default_source"`
	DefaultTaxRates       []string          `json:"default_tax_rates"`
	Description           *string           `json:"description"`
	Discounts             []string          `json:"discounts"`
	EndedAt               *int64            `json:"ended_at"`
	InvoiceSettings       SubInvoiceSetting `json:"invoice_settings"`
	Items                 List              `json:"items"`
	LatestInvoice         any               `json:"latest_invoice"`
	Livemode              bool              `json:"livemode"`
	Metadata              map[string]string `json:"metadata"`
	NextPending           *int64            `json:"next_pending_invoice_item_invoice"`
	OnBehalfOf            *string           `json:"on_behalf_of"`
	PauseCollection       *Pause            `json:"pause_collection"`
	PaymentSettings       PaymentSettings   `json:"payment_settings"`
	PendingInterval       *struct{}         `json:"pending_invoice_item_interval"`
	PendingSetupIntent    *string           `json:"pending_setup_intent"`
	PendingUpdate         *struct{}         `json:"pending_update"`
	Plan                  *Plan             `json:"plan,omitempty"`
	Quantity              *int64            `json:"quantity,omitempty"`
	Schedule              *string           `json:"schedule"`
	StartDate             int64             `json:"start_date"`
	Status                string            `json:"status"`
	TestClock             *string           `json:"test_clock"`
	TransferData          *struct{}         `json:"transfer_data"`
	TrialEnd              *int64            `json:"trial_end"`
	TrialSettings         TrialSettings     `json:"trial_settings"`
	TrialStart            *int64            `json:"trial_start"`
}

// AutomaticTax is a JSON object of Stripe's API.
type AutomaticTax struct {
	Enabled   bool      `json:"enabled"`
	Liability *struct{} `json:"liability"`
}

// Cancellation is a JSON object of Stripe's API.
type Cancellation struct {
	Comment  *string `json:"comment"`
	Feedback *string `json:"feedback"`
	Reason   *string `json:"reason"`
}

// SubInvoiceSetting is a JSON object of Stripe's API.
type SubInvoiceSetting struct {
	AccountTaxIDs []string `json:"account_tax_ids"`
	Issuer        Issuer   `json:"issuer"`
}

// Issuer is a JSON object of Stripe's API.
type Issuer struct {
	Type string `json:"type"`
}

// Pause is a JSON object of Stripe's API.
type Pause struct {
	Behavior  string `json:"behavior"`
	ResumesAt *int64 `json:"resumes_at"`
}

// PaymentSettings is a JSON object of Stripe's API.
type PaymentSettings struct {
	Options *struct{} `json:"payment_method_options"`
	Types   []string  `json:"payment_method_types"`
	Save    string    `json:"save_default_payment_method"`
}

// TrialSettings is a JSON object of Stripe's API.
type TrialSettings struct {
	EndBehavior struct {
		MissingPaymentMethod string `json:"missing_payment_method"`
	} `json:"end_behavior"`
}

// Item is a JSON object of Stripe's API.
type Item struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	BillingThresholds  *struct{}         `json:"billing_thresholds"`
	Created            int64             `json:"created"`
	CurrentPeriodEnd   *int64            `json:"current_period_end,omitempty"`
	CurrentPeriodStart *int64            `json:"current_period_start,omitempty"`
	Discounts          []string          `json:"discounts"`
	Metadata           map[string]string `json:"metadata"`
	Plan               *Plan             `json:"plan"`
	Price              *Price            `json:"price"`
	Quantity           int64             `json:"quantity"`
	Subscription       string            `json:"subscription"`
	TaxRates           []string          `json:"tax_rates"`
}

// Plan is a JSON object of Stripe's API.
type Plan struct {
	ID              string            `json:"id"`
	Object          string            `json:"object"`
	Active          bool              `json:"active"`
	AggregateUsage  *string           `json:"aggregate_usage"`
	Amount          int64             `json:"amount"`
	AmountDecimal   string            `json:"amount_decimal"`
	BillingScheme   string            `json:"billing_scheme"`
	Created         int64             `json:"created"`
	Currency        string            `json:"currency"`
	Interval        string            `json:"interval"`
	IntervalCount   int64             `json:"interval_count"`
	Livemode        bool              `json:"livemode"`
	Metadata        map[string]string `json:"metadata"`
	Nickname        *string           `json:"nickname"`
	Product         string            `json:"product"`
	TiersMode       *string           `json:"tiers_mode"`
	TransformUsage  *struct{}         `json:"transform_usage"`
	TrialPeriodDays *int64            `json:"trial_period_days"`
	UsageType       string            `json:"usage_type"`
}
