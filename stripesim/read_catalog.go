package stripesim

import (
	"net/http"
	"slices"
	"strconv"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/wire"
)

func (v view) listProducts(q *api.Query) (any, *api.Error) {
	if err := q.OneOf("active", "true", "false"); err != nil {
		return nil, err
	}
	page, more, err := pageOf(v.w.prodList, q, func(id string) (*place, bool) {
		rec := v.w.products[id]
		if rec == nil {
			return nil, false
		}
		return &rec.place, true
	}, "product", func(rec *productRecord) bool {
		p := rec.asOf(v.at)
		return p != nil && wanted(q, "active", strconv.FormatBool(p.Active)) && among(q, "ids", p.ID)
	})
	if err != nil {
		return nil, err
	}
	data := make([]*wire.Product, len(page))
	for i, rec := range page {
		data[i] = v.product(rec.asOf(v.at), q.Expand.Of("data"))
	}
	return &wire.List{Object: "list", Data: data, HasMore: more, URL: "/v1/products"}, nil
}

func (v view) getProduct(q *api.Query) (any, *api.Error) {
	rec := v.w.products[q.ID]
	if rec == nil {
		return nil, api.Missing(http.StatusNotFound, "product", q.ID, "id")
	}
	return v.product(rec.asOf(v.at), q.Expand), nil
}

func (v view) listPrices(q *api.Query) (any, *api.Error) {
	if err := q.OneOf("active", "true", "false"); err != nil {
		return nil, err
	}
	if err := q.OneOf("type", "recurring", "one_time"); err != nil {
		return nil, err
	}
	page, more, err := pageOf(v.w.priceLst, q, func(id string) (*place, bool) {
		rec := v.w.prices[id]
		if rec == nil {
			return nil, false
		}
		return &rec.place, true
	}, "price", func(rec *priceRecord) bool {
		p := rec.asOf(v.at)
		return p != nil && wanted(q, "active", strconv.FormatBool(p.Active)) && wanted(q, "product", p.Product) &&
			wanted(q, "currency", p.Currency) && wanted(q, "type", "recurring") && among(q, "lookup_keys", p.LookupKey)
	})
	if err != nil {
		return nil, err
	}
	data := make([]*wire.Price, len(page))
	for i, rec := range page {
		data[i] = v.price(rec.asOf(v.at), q.Expand.Of("data"))
	}
	return &wire.List{Object: "list", Data: data, HasMore: more, URL: "/v1/prices"}, nil
}

func (v view) getPrice(q *api.Query) (any, *api.Error) {
	rec := v.w.prices[q.ID]
	if rec == nil {
		return nil, api.Missing(http.StatusNotFound, "price", q.ID, "id")
	}
	return v.price(rec.asOf(v.at), q.Expand), nil
}

// wanted and among report whether a value matches a parameter; every value does if it is absent.
func wanted(q *api.Query, param, value string) bool {
	v, ok := q.One[param]
	return !ok || v == value
}

func among(q *api.Query, param, value string) bool {
	v, ok := q.Many[param]
	return !ok || slices.Contains(v, value)
}
