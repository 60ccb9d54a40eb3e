// Package plans decides what the facts in a snapshot grant.
//
// A snapshot has two halves. The facts are what Stripe says: subscriptions, items, metadata, active
// entitlements; a sync reads them, and nothing else writes them. The decision is what they grant:
// [Decide] makes it from the facts and one [Document], which [Parse] reads from plans.yaml. When
// the document changes, every decision is made again from the facts in the bucket, without a
// request to Stripe.
//
// Everything here is pure: no clock but the facts' as_of, no input or output.
//
// # Facts and decision
//
// The decision is id, access, access_until, features, limits, grants, next_boundary, problems,
// plans_revision and subscriptions[].access. All other fields are facts, or say where the facts
// came from (as_of, changed_at, cause, facts_revision, omitted). [Facts] returns a snapshot without
// its decision.
//
// # The decision
//
// [Decide] makes a list of grants, and computes the other fields from it. A subscription makes one
// whose source is its id, Stripe's active entitlements one with the source stripe, the customer's
// own metadata one with the source customer, and the document's default one in every snapshot. A
// grant with an end stays in the list after it: which grants are live is for the readers in package
// entitlement, who know the time. So grants change only with the facts or the document, and only
// access, access_until, features, limits, next_boundary and subscriptions[].access, which say what
// the grants amount to at as_of, change with the time of reading.
//
// For a subscription that has not ended:
//
//   - Its plans are those that its items match, those that its prices name in their metadata
//     (entitled_plan), and those that it names in its own. A plan of an item counts with the
//     item's quantity, a plan that the subscription names counts once more with quantity 1.
//   - Features are united. Of limits the largest counts, adds are summed. Then the limits in the
//     subscription's own metadata replace those of their name.
//   - Its status grants by the most generous rule of its plans, or by the document's rule if it
//     has no plan. Statuses that have no rule deny. Without a plan, unmatched: deny denies too,
//     whatever words its prices have.
//   - It ends at the earliest of its cancellation and the end of the rule's duration.
//
// Without a document, and for customers of connected accounts unless the document says connect:
// true, the same holds for the zero [Document]: no plans, words on prices count, the default rules,
// Stripe's entitlements if they were read.
package plans
