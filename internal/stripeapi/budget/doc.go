// Package budget is the allowance of requests to Stripe that a fleet of syncers shares: a token
// bucket, kept in the KV bucket stripe_state. Package stripeapi makes the requests; each needs a
// permit of [Budget.Take].
package budget
