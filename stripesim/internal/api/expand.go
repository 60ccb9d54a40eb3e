package api

import (
	"slices"
	"strings"
)

// Expansion is the tree of the properties that a request expands to objects.
type Expansion map[string]Expansion

// Has reports whether a property is expanded.
func (x Expansion) Has(name string) bool {
	_, ok := x[name]
	return ok
}

// Of returns the expansions below a property.
func (x Expansion) Of(name string) Expansion { return x[name] }

// property is one edge of the object graph. A path may end only at an expandable property; the
// others are always objects, and a path may go through them.
type property struct {
	object     string
	expandable bool
	permission string // needed to expand it
}

// shapes returns the properties of an object that a path may name. It includes properties that are
// always null here, because Stripe accepts them.
func shapes(object string) map[string]property {
	null := property{expandable: true}
	customer := property{"customer", true, "rak_customer_read"}
	method := property{"payment_method", true, "rak_payment_method_read"}
	switch object {
	case "list:subscription", "list:customer", "list:subscription_item", "list:price", "list:product",
		"list:entitlement", "list:event", "list:session":
		return map[string]property{"data": {object: strings.TrimPrefix(object, "list:")}}
	case "subscription":
		return map[string]property{
			"customer": customer, "default_payment_method": method,
			"latest_invoice": {"invoice", true, "rak_invoice_read"},
			"items":          {object: "list:subscription_item", expandable: true},
			"application":    null, "default_source": null, "on_behalf_of": null, "pending_setup_intent": null,
			"schedule": null, "test_clock": null, "discounts": null,
		}
	case "subscription_item":
		return map[string]property{"price": {object: "price"}, "plan": {object: "plan"}}
	case "price":
		return map[string]property{
			"product": {"product", true, "rak_product_read"}, "currency_options": null, "tiers": null,
		}
	case "product":
		return map[string]property{"default_price": null, "tax_code": null}
	case "payment_method":
		return map[string]property{"customer": customer}
	case "invoice":
		return map[string]property{"customer": customer}
	case "customer":
		return map[string]property{
			"subscriptions":    {"list:subscription", true, "rak_subscription_read"},
			"invoice_settings": {object: "invoice_settings"},
			"default_source":   null, "test_clock": null, "sources": null, "tax": null, "tax_ids": null,
			"cash_balance": null,
		}
	case "invoice_settings":
		return map[string]property{"default_payment_method": method}
	case "entitlement":
		return map[string]property{"feature": {object: "feature", expandable: true}}
	}
	return nil
}

// maxExpandDepth is Stripe's limit on the levels of a path.
const maxExpandDepth = 4

// ParseExpand checks each path against the object and the permissions.
func ParseExpand(
	paths []string, object string, may func(permission string) bool, forbidden func(permission string) *Error,
) (Expansion, *Error) {
	if len(paths) == 0 {
		return nil, nil
	}
	root := Expansion{}
	for _, path := range paths {
		steps := strings.Split(path, ".")
		if len(steps) > maxExpandDepth {
			return nil, BadParam("", "expand", "You cannot expand more than 4 levels of a property. Property: %s", path)
		}
		at, x := object, root
		for i, step := range steps {
			p, ok := shapes(at)[step]
			if !ok || i == len(steps)-1 && !p.expandable {
				return nil, notExpandable(path, steps, object)
			}
			if p.permission != "" && !may(p.permission) {
				return nil, forbidden(p.permission)
			}
			if x[step] == nil {
				x[step] = Expansion{}
			}
			at, x = p.object, x[step]
		}
	}
	return root, nil
}

func notExpandable(path string, steps []string, object string) *Error {
	e := BadParam("", "expand", "This property cannot be expanded (%s).", path)
	inner, isList := strings.CutPrefix(object, "list:")
	if isList && !slices.Contains(steps, "data") && shapes(inner)[steps[0]].expandable {
		e.Message += " You may want to try expanding 'data." + path + "' instead."
	}
	return e
}
