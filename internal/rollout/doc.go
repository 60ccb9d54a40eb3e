// Package rollout waits until the syncers have brought an applied plans document to every customer:
// first each snapshot is decided again under it, then the customers that lack facts which it needs are
// read from Stripe.
//
// Fill a [Wait] and call [Wait.Run]; its functions hear of the progress.
package rollout
