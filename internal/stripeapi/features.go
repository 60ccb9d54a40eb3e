package stripeapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement/snapshot"
)

// HasFeature reports whether a Stripe account has a feature of Stripe's entitlements: without one no
// customer has an active entitlement. It makes one request, whose permit the caller has. Stripe does
// not list archived features, whose entitlements stay active. An error is an [*Error].
func (c *Client) HasFeature(ctx context.Context, account string) (bool, Trace, error) {
	params := &stripe.EntitlementsFeatureListParams{}
	params.Limit = stripe.Int64(1)
	p := &pager{c: c, account: account}
	r := p.request(OpListFeatures, "/v1/entitlements/features", params)
	found, _, _, err := one(ctx, p, r, &params.ListParams, func(f *stripe.EntitlementsFeature) (string, error) {
		switch {
		case f == nil:
			return "", errNull
		case snapshot.ModeOf(f.Livemode) != c.mode:
			return "", fmt.Errorf("feature %s is not in mode %s", clip(f.ID), c.mode)
		}
		return f.ID, nil
	})
	return len(found) > 0, p.trace, err
}

// Refused reports whether Stripe answered that this key may not make the request, or that this
// account has no such endpoint. The same request would be refused again.
func Refused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && !e.NotJSON && (e.Status == 400 || e.Status == 403 || e.Status == 404)
}
