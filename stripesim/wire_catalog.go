package stripesim

import "strconv"

type productJSON struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	Active              bool              `json:"active"`
	Created             int64             `json:"created"`
	DefaultPrice        *string           `json:"default_price"`
	Description         *string           `json:"description"`
	Features            []featureName     `json:"features"`
	Images              []string          `json:"images"`
	Livemode            bool              `json:"livemode"`
	Metadata            map[string]string `json:"metadata"`
	Name                string            `json:"name"`
	PackageDimensions   *struct{}         `json:"package_dimensions"`
	Shippable           *bool             `json:"shippable"`
	StatementDescriptor *string           `json:"statement_descriptor"`
	TaxCode             *string           `json:"tax_code"`
	Type                string            `json:"type"`
	UnitLabel           *string           `json:"unit_label"`
	Updated             int64             `json:"updated"`
	URL                 *string           `json:"url"`
}

// featureName is a marketing feature. A product's features of Stripe's entitlements are not part of
// it.
type featureName struct {
	Name string `json:"name"`
}

func (v view) product(p *product, _ expansion) *productJSON {
	return &productJSON{
		ID: p.ID, Object: "product", Active: p.Active, Created: p.Created, Features: []featureName{},
		Images: []string{}, Livemode: v.w.scope.live, Metadata: metadata(p.Metadata), Name: p.Name,
		Type: "service", Updated: p.Updated,
	}
}

type priceJSON struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	Active            bool              `json:"active"`
	BillingScheme     string            `json:"billing_scheme"`
	Created           int64             `json:"created"`
	Currency          string            `json:"currency"`
	CustomUnitAmount  *struct{}         `json:"custom_unit_amount"`
	Livemode          bool              `json:"livemode"`
	LookupKey         *string           `json:"lookup_key"`
	Metadata          map[string]string `json:"metadata"`
	Nickname          *string           `json:"nickname"`
	Product           any               `json:"product"`
	Recurring         recurringJSON     `json:"recurring"`
	TaxBehavior       string            `json:"tax_behavior"`
	TiersMode         *string           `json:"tiers_mode"`
	TransformQuantity *struct{}         `json:"transform_quantity"`
	Type              string            `json:"type"`
	UnitAmount        int64             `json:"unit_amount"`
	UnitAmountDecimal string            `json:"unit_amount_decimal"`
}

type recurringJSON struct {
	AggregateUsage  *string `json:"aggregate_usage"`
	Interval        string  `json:"interval"`
	IntervalCount   int64   `json:"interval_count"`
	TrialPeriodDays *int64  `json:"trial_period_days"`
	UsageType       string  `json:"usage_type"`
}

func (v view) price(p *price, x expansion) *priceJSON {
	return &priceJSON{
		ID: p.ID, Object: "price", Active: p.Active, BillingScheme: "per_unit", Created: p.Created,
		Currency: p.Currency, Livemode: v.w.scope.live, LookupKey: strOrNull(p.LookupKey),
		Metadata: metadata(p.Metadata), Nickname: strOrNull(p.Nickname),
		Product: ref(p.Product, x.has("product"), func() any {
			return v.product(v.w.products[p.Product].asOf(v.at), x.of("product"))
		}),
		Recurring:   recurringJSON{Interval: p.Interval, IntervalCount: p.IntervalCount, UsageType: "licensed"},
		TaxBehavior: "unspecified", Type: "recurring", UnitAmount: p.UnitAmount,
		UnitAmountDecimal: strconv.FormatInt(p.UnitAmount, 10),
	}
}

type entitlementJSON struct {
	ID        string `json:"id"`
	Object    string `json:"object"`
	Feature   any    `json:"feature"`
	Livemode  bool   `json:"livemode"`
	LookupKey string `json:"lookup_key"`
}

type featureJSON struct {
	ID        string            `json:"id"`
	Object    string            `json:"object"`
	Active    bool              `json:"active"`
	Livemode  bool              `json:"livemode"`
	LookupKey string            `json:"lookup_key"`
	Metadata  map[string]string `json:"metadata"`
	Name      string            `json:"name"`
}

func (v view) entitlement(e *activeEntitlement, x expansion) *entitlementJSON {
	f := e.feature
	return &entitlementJSON{
		ID: e.id, Object: "entitlements.active_entitlement", Livemode: v.w.scope.live, LookupKey: f.LookupKey,
		Feature: ref(f.ID, x.has("feature"), func() any { return v.feature(f) }),
	}
}

func (v view) feature(f *feature) *featureJSON {
	return &featureJSON{
		ID: f.ID, Object: "entitlements.feature", Active: true, Livemode: v.w.scope.live,
		LookupKey: f.LookupKey, Metadata: map[string]string{}, Name: f.Name,
	}
}

// summaryJSON has no id. As at Stripe, it lists only the first ten entitlements.
type summaryJSON struct {
	Object       string   `json:"object"`
	Customer     string   `json:"customer"`
	Entitlements listJSON `json:"entitlements"`
	Livemode     bool     `json:"livemode"`
}

func (v view) summary(c *Customer) *summaryJSON {
	const inline = 10
	data := []*entitlementJSON{}
	for i := range c.entitlements[:min(len(c.entitlements), inline)] {
		data = append(data, v.entitlement(&c.entitlements[i], nil))
	}
	return &summaryJSON{
		Object: "entitlements.active_entitlement_summary", Customer: c.ID, Livemode: v.w.scope.live,
		Entitlements: listJSON{
			Object: "list", Data: data, HasMore: len(c.entitlements) > inline,
			URL: "/v1/customer/" + c.ID + "/entitlements",
		},
	}
}
