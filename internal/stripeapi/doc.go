// Package stripeapi reads Stripe: the full current state of one customer ([Client.Fetch]), pages of the whole
// account for sweeps and recovery ([Client.ListSubscriptions], [Client.ListEvents]), and the fleet's shared
// allowance of requests that all of them draw on ([Budget]).
//
// The common path is a place from [Budget.Take], then [Client.Fetch] with a function that takes the places of the
// requests after the first:
//
//	if err := budget.Take(ctx, stripeapi.Webhooks); err != nil { … }
//	state, trace, err := client.Fetch(ctx, account, customer, func(ctx context.Context) error { return budget.Take(ctx, stripeapi.Webhooks) })
//
// A [State] is whole or there is none: every page of subscriptions, of their items and of active entitlements was
// read, every object belongs to the customer and the mode asked for, and any doubt is an error. What Stripe answers
// instead of a state is an [*Error] that carries the facts to act upon; this package never retries by itself.
//
// Requests carry the API version that stripe-go is pinned to (2023-10-16), whatever the account's default. Reading is
// not atomic on Stripe's side: an object that changes while pages are read may be seen before or after its change; the
// event about it leads to another reading.
package stripeapi
