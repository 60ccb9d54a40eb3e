// Package repair finds and repairs lost and missed work. [Coverage] proves that every event has led
// to a sync, and marks the customers of the others; [Recovery] compares Stripe's list of events
// with the log, and stores the missing ones; [FanOut] marks the customers whose snapshot names a
// changed price or product; [TakeIn] stores messages again that a consumer has left behind.
//
// It may import store and what that imports; it knows neither sweep nor the process.
package repair
