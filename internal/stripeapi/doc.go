// Package stripeapi reads Stripe: the full current state of one customer ([Client.Fetch]), and pages
// of the whole account for sweeps and recovery ([Client.ListSubscriptions], [Client.ListEvents]).
//
// Each request needs a permit. Package budget gives them, within the allowance that the fleet
// shares. A caller takes the permit of the first request, then calls [Client.Fetch] with a function
// that takes the permits of the requests after the first:
//
//	permit := func(ctx context.Context) error { return budget.Take(ctx, stripeapi.Webhooks) }
//	if err := permit(ctx); err != nil { … }
//	state, trace, err := client.Fetch(ctx, account, customer, permit)
//
// A [State] is complete, or Fetch fails: it has read every page of subscriptions, of their items
// and of active entitlements, and every object belongs to the requested customer and mode. If
// Stripe's answers leave any doubt, the result is an error. A failed request is an [*Error] with
// the facts that decide how to go on; this package never retries.
//
// Requests carry the API version that stripe-go is pinned to (2023-10-16), whatever the account's
// default. A read is not atomic at Stripe: if an object changes while pages are read, the result
// may have the object before or after the change. The event about the change leads to another read.
package stripeapi
