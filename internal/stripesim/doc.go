// Package stripesim is a stateful simulator of Stripe's billing API, with faults.
//
// A [Sim] keeps customers, subscriptions, a catalog and a clock. It serves them through
// the REST API that Stripe's client libraries speak, and it signs and sends the webhooks
// that Stripe would send, out of order, twice or never when told so. A test drives it from
// Go, points stripe-go at it, and compares what its program believes with [Account.Truth].
//
//	sim := stripesim.New(stripesim.Config{Seed: 1})
//	defer sim.Close()
//	srv := httptest.NewServer(sim)
//	sim.DemoCatalog()
//	sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: url, Secrets: []string{"whsec_x"}})
//	c, err := sim.Checkout(stripesim.CheckoutParams{Price: "price_pro_monthly"})
//	sim.Advance(31 * 24 * time.Hour) // the renewal
//	err = sim.Quiet(ctx)             // all webhooks taken or given up
//
// # What it serves
//
// GET of subscriptions, subscription_items, customers, products, prices, events (lists
// and single objects), entitlements/active_entitlements and account: with Stripe's
// filters, cursors, limits, expansions and refusals. Keys tell the mode and may be
// restricted; Stripe-Account selects a connected account. Objects have the shape of
// version 2023-10-16, or from 2025-03-31 on have their periods on the items. There are no
// writes: the state changes through [Account] and the clock.
//
// # What it guarantees
//
// Each step, a method of Account or one thing the clock does, is atomic: an answer is one
// instant's state, whatever delays it. Each step emits its events together, with the same
// created second, their objects rendered at that instant. Ids, fault draws, delays and the
// order of deliveries that are due together come from [Config.Seed]; what remains up to
// chance is the order in which concurrent requests arrive.
//
// The clock stands still until [Sim.Advance] or [Sim.Live] moves it. Deliveries, rate
// limits, latency and read lag run on wall time.
//
// # Where Stripe does not say
//
// Retry steps of webhooks are guesses within the documented span, see [Config].RetryFactor.
// A list by a deleted customer is empty unless ListDeletedCustomers. The concurrency limit
// has no default. Dunning is three attempts and then cancellation, as configured.
//
// # Limits
//
// Recurring, licensed, per-unit prices of one interval and currency per subscription, at
// most 20 items. No tax, discounts, schedules, test clocks, metered usage, search or
// thin events (send those with [Account.InjectRaw]). Invoices, charges and intents exist
// only in events and as an expanded latest_invoice. A million subscriptions fit in a few
// about 1.3 GB; lists cost the page, except for filters that match little.
//
// # Steering it over HTTP
//
// Paths under /_sim/ are for tests in other languages. Serve them on loopback only: they
// ask for no key. Bodies and answers are JSON; errors are 400 with {"error":…}, which names the
// fields that there are. Catalog, checkout and act also take "account" (a connected one) and "live".
//
//	GET    /_sim/state?customer=   a customer's truth; without customer, clock and customers
//	POST   /_sim/catalog           {} for the demo catalog, or {product,name,features,price,lookup_key,unit_amount,interval}
//	POST   /_sim/checkout          {customer,email,price,trial_days,spread}; price defaults to price_pro_monthly
//	POST   /_sim/act               {do,id,…}: cancel, cancel_at_period_end, change_price, fail_payments, delete_customer, …
//	GET    /_sim/clock
//	POST   /_sim/clock             {"advance":"720h"}
//	GET    /_sim/faults
//	POST   /_sim/faults            replaces them: {"latency":{"min":"80ms","max":"230ms"},"error_500":0.1}
//	GET    /_sim/webhooks          endpoints and attempts
//	POST   /_sim/webhooks          {url,secrets,connect,livemode,enabled_types}; answers with id and secrets
//	POST   /_sim/quiet             answers when all deliveries are over
//	GET    /_sim/requests          the request log and its sums; DELETE forgets them
//	POST   /_sim/stories           {name,pace}: plays one story or all
package stripesim
