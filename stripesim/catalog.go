package stripesim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/ids"
)

// feature is a feature of Stripe's entitlements.
type feature struct {
	ID, LookupKey, Name string
	stamp               int64 // when it was created, as versions have it
}

// product is a product's state.
type product struct {
	ID, Name string
	Active   bool
	Features []string // lookup keys
	Metadata map[string]string
	Created  int64 // unix seconds
	Updated  int64 // unix seconds
}

// price is a price's state.
type price struct {
	ID, Product   string
	LookupKey     string // "" when it has none
	Nickname      string
	Active        bool
	UnitAmount    int64 // in the currency's smallest unit
	Currency      string
	Interval      string // day, week, month or year
	IntervalCount int64
	Metadata      map[string]string
	Created       int64 // unix seconds
}

// ProductParams describe a new product.
type ProductParams struct {
	ID       string   // defaults to a generated id
	Name     string   // defaults to the id
	Features []string // lookup keys; features that do not exist are created
	Metadata map[string]string
}

// PriceParams describe a new recurring price.
type PriceParams struct {
	ID            string // defaults to a generated id
	Product       string // the id of an existing product
	LookupKey     string
	Nickname      string
	UnitAmount    int64  // in the currency's smallest unit; 0 is free
	Currency      string // defaults to usd
	Interval      string // day, week, month or year; defaults to month
	IntervalCount int64  // defaults to 1
	Metadata      map[string]string
}

// CreateProduct creates a product and emits product.created.
func (a *Account) CreateProduct(p ProductParams) (id string, err error) {
	err = a.step(func(t *tx) error {
		id = cmp.Or(p.ID, ids.New(t.rng, "prod_", 14))
		if t.products[id] != nil {
			return fmt.Errorf("product %s: already exists", id)
		}
		for _, key := range p.Features {
			t.feature(key)
		}
		rec := &productRecord{place: t.place(id, t.listed)}
		rec.set(&product{
			ID: id, Name: cmp.Or(p.Name, id), Active: true, Features: slices.Clone(p.Features),
			Metadata: maps.Clone(p.Metadata), Created: t.now, Updated: t.now,
		}, t.stamp)
		t.products[id] = rec
		t.prodList = append(t.prodList, rec)
		t.emit("product.created", t.wireProduct(rec.get()), nil)
		return nil
	})
	return id, err
}

// feature returns the feature with a lookup key and creates it if it is missing. Stripe has no
// event for features.
func (t *tx) feature(key string) *feature {
	f := t.byLookup[key]
	if f == nil {
		f = &feature{ID: ids.New(t.rng, "feat_test_61", 38), LookupKey: key, Name: key, stamp: t.stamp}
		if t.scope.live {
			f.ID = ids.New(t.rng, "feat_61", 38)
		}
		t.byLookup[key] = f
		t.features = slices.Concat([]*feature{f}, t.features)
	}
	return f
}

// SetProductFeatures replaces a product's features. As at Stripe, an existing subscription keeps
// its features until its next billing cycle or until its items change.
func (a *Account) SetProductFeatures(product string, lookupKeys ...string) error {
	return a.step(func(t *tx) error {
		rec := t.products[product]
		if rec == nil {
			return fmt.Errorf("no such product: %q", product)
		}
		for _, key := range lookupKeys {
			t.feature(key)
		}
		next := *rec.get()
		next.Features = slices.Clone(lookupKeys)
		rec.set(&next, t.stamp)
		return nil
	})
}

// UpdateProduct sets the name, unless it is empty, merges metadata, and emits product.updated.
func (a *Account) UpdateProduct(product, name string, metadata map[string]string) error {
	return a.step(func(t *tx) error {
		rec := t.products[product]
		if rec == nil {
			return fmt.Errorf("no such product: %q", product)
		}
		old := rec.get()
		next := *old
		next.Name = cmp.Or(name, old.Name)
		next.Metadata = api.MergeMetadata(old.Metadata, metadata)
		next.Updated = t.now
		rec.set(&next, t.stamp)
		t.emitUpdate("product.updated", t.wireProduct(old), t.wireProduct(&next))
		return nil
	})
}

// CreatePrice creates a price and emits price.created.
func (a *Account) CreatePrice(p PriceParams) (id string, err error) {
	err = a.step(func(t *tx) error {
		if t.products[p.Product] == nil {
			return fmt.Errorf("no such product: %q", p.Product)
		}
		id = cmp.Or(p.ID, ids.New(t.rng, "price_1", 23))
		if t.prices[id] != nil {
			return fmt.Errorf("price %s: already exists", id)
		}
		interval := cmp.Or(p.Interval, "month")
		if !slices.Contains([]string{"day", "week", "month", "year"}, interval) {
			return fmt.Errorf("price %s: interval %q: want day, week, month or year", id, interval)
		}
		rec := &priceRecord{place: t.place(id, t.listed)}
		rec.set(&price{
			ID: id, Product: p.Product, LookupKey: p.LookupKey, Nickname: p.Nickname, Active: true,
			UnitAmount: p.UnitAmount, Currency: cmp.Or(p.Currency, "usd"), Interval: interval,
			IntervalCount: cmp.Or(p.IntervalCount, 1), Metadata: maps.Clone(p.Metadata), Created: t.now,
		}, t.stamp)
		t.prices[id] = rec
		t.priceLst = append(t.priceLst, rec)
		t.emit("price.created", t.wirePrice(rec.get()), nil)
		return nil
	})
	return id, err
}

// UpdatePrice sets a price's lookup key and its active flag, and emits price.updated.
func (a *Account) UpdatePrice(price, lookupKey string, active bool) error {
	return a.step(func(t *tx) error {
		rec := t.prices[price]
		if rec == nil {
			return fmt.Errorf("no such price: %q", price)
		}
		old := rec.get()
		next := *old
		next.LookupKey, next.Active = lookupKey, active
		rec.set(&next, t.stamp)
		t.emitUpdate("price.updated", t.wirePrice(old), t.wirePrice(&next))
		return nil
	})
}
