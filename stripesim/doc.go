// Package stripesim serves a simulated Stripe to tests: the billing API that Stripe's client
// libraries read, the webhooks that Stripe would send, and failures at the test's command.
//
// A [Sim] keeps customers, subscriptions, a catalog and a clock. It is an [http.Handler]: a test
// serves it with httptest, points stripe-go at it, and changes its state through the methods of
// [Account] and [Sim.Advance]. [Account.Truth] is the state to compare the tested program with.
//
//	sim := stripesim.New(stripesim.Config{Seed: 1})
//	defer sim.Close()
//	srv := httptest.NewServer(sim)
//	err := sim.DemoCatalog()
//	sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: url, Secrets: []string{"whsec_x"}})
//	c, err := sim.Checkout(stripesim.CheckoutParams{Price: "price_pro_monthly"})
//	sim.Advance(31 * 24 * time.Hour) // the renewal
//	err = sim.Quiet(ctx)             // every webhook was accepted or given up
//
// # API
//
// The simulator serves GET of subscriptions, subscription_items, customers, products, prices and
// events (lists and, but for the items, single objects), entitlements/active_entitlements,
// entitlements/features and account, with Stripe's filters, cursors, limits, expansions and errors.
// The key decides the mode and may be restricted. The header Stripe-Account selects a connected
// account. Objects have the shape of version 2023-10-16 or, for versions from 2025-03-31 on, their periods on the items.
//
// Customers can be created, updated, deleted and searched. A write under an Idempotency-Key is
// answered as Stripe answers it: the same again for a day of the simulator's clock, a 500 too; 400
// for another body; 409 while one is in flight. The search lags by [Config].SearchLag.
//
// Sessions of Checkout (one recurring price) and of the customer portal have pages under /_sim/, plain
// HTML forms: a person pays, with a card that is charged or one that is declined, changes the
// quantity, cancels. A test posts the same forms, or calls [Account.PaySession]. DELETE cancels a
// subscription. All other state changes through [Account] and the clock.
//
// # Guarantees
//
// A step is one call of a method of Account, or one change that the clock makes. Steps are atomic:
// an answer shows the state at one instant, however long it is delayed. The events of one step are
// emitted together, have the same created second, and show their objects as of that instant.
// [Config].Seed decides ids, faults, delays and the order of deliveries that are due together. The
// order in which concurrent requests arrive is not repeatable.
//
// The clock stands still until [Sim.Advance], [Sim.AdvanceTo], [Sim.Live] or [Sim.RunStories] moves
// it. Deliveries, rate limits, latency and read lag use wall time.
//
// # Undocumented behavior of Stripe
//
// Stripe does not document the delays between the attempts of a webhook; the simulator's fit the
// documented total, divided by [Config].RetryFactor. A list of a deleted customer's subscriptions
// is empty unless ListDeletedCustomers is set. A declined card in Checkout leaves an incomplete
// subscription, which the next card pays. There is no default limit on concurrency. By default
// a failed payment is retried three times, and then the subscription is canceled.
//
// # Limits
//
// Prices are recurring, licensed and per unit. The prices of a subscription have one interval and
// currency, and there are at most 20. There is no tax, discount, schedule, test clock, metered
// usage or thin event; [Account.InjectRaw] delivers bodies of the test's choice. Invoices,
// charges and intents exist only in events and as an expanded latest_invoice. A customer with one
// subscription takes about 1.3 kB of memory after [Account.Load].
//
// # Other languages
//
// Tests in other languages run the command "entitled simulate" and drive the simulator over HTTP:
// see [AdminAPI].
package stripesim
