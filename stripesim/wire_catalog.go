package stripesim

import (
	"strconv"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/wire"
)

func (v view) product(p *product, _ api.Expansion) *wire.Product {
	return &wire.Product{
		ID: p.ID, Object: "product", Active: p.Active, Created: p.Created, Features: []wire.FeatureName{},
		Images: []string{}, Livemode: v.w.scope.live, Metadata: metadata(p.Metadata), Name: p.Name,
		Type: "service", Updated: p.Updated,
	}
}

func (v view) price(p *price, x api.Expansion) *wire.Price {
	return &wire.Price{
		ID: p.ID, Object: "price", Active: p.Active, BillingScheme: "per_unit", Created: p.Created,
		Currency: p.Currency, Livemode: v.w.scope.live, LookupKey: wire.StrOrNull(p.LookupKey),
		Metadata: metadata(p.Metadata), Nickname: wire.StrOrNull(p.Nickname),
		Product: ref(p.Product, x.Has("product"), func() any {
			return v.product(v.w.products[p.Product].asOf(v.at), x.Of("product"))
		}),
		Recurring:   wire.Recurring{Interval: p.Interval, IntervalCount: p.IntervalCount, UsageType: "licensed"},
		TaxBehavior: "unspecified", Type: "recurring", UnitAmount: p.UnitAmount,
		UnitAmountDecimal: strconv.FormatInt(p.UnitAmount, 10),
	}
}

func (v view) entitlement(e *activeEntitlement, x api.Expansion) *wire.Entitlement {
	f := e.feature
	return &wire.Entitlement{
		ID: e.id, Object: "entitlements.active_entitlement", Livemode: v.w.scope.live, LookupKey: f.LookupKey,
		Feature: ref(f.ID, x.Has("feature"), func() any { return v.feature(f) }),
	}
}

func (v view) feature(f *feature) *wire.Feature {
	return &wire.Feature{
		ID: f.ID, Object: "entitlements.feature", Active: true, Livemode: v.w.scope.live,
		LookupKey: f.LookupKey, Metadata: map[string]string{}, Name: f.Name,
	}
}

func (v view) summary(c *Customer) *wire.Summary {
	const inline = 10
	data := []*wire.Entitlement{}
	for i := range c.entitlements[:min(len(c.entitlements), inline)] {
		data = append(data, v.entitlement(&c.entitlements[i], nil))
	}
	return &wire.Summary{
		Object: "entitlements.active_entitlement_summary", Customer: c.ID, Livemode: v.w.scope.live,
		Entitlements: wire.List{
			Object: "list", Data: data, HasMore: len(c.entitlements) > inline,
			URL: "/v1/customer/" + c.ID + "/entitlements",
		},
	}
}
