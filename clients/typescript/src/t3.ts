import type { Snapshot, Subscription } from "./model.js";

/** The value that the "t3" recipe (github.com/t3dotgg/stripe-recommendations) stores for a customer. */
export type STRIPE_SUB_CACHE =
  | {
      subscriptionId: string | null;
      status: string;
      priceId: string | null;
      currentPeriodStart: number | null;
      currentPeriodEnd: number | null;
      cancelAtPeriodEnd: boolean;
      paymentMethod: { brand: string | null; last4: string | null } | null;
    }
  | { status: "none" };

const order = ["active", "trialing", "past_due", "unpaid", "paused", "incomplete", "canceled", "incomplete_expired"];

const rank = ({ status }: Subscription): number => (order.indexOf(status) + order.length + 1) % (order.length + 1);

/**
 * Makes a snapshot the value of the recipe. The recipe has one subscription; of several this takes the one with the
 * most favourable status, and of those the one whose period began last.
 */
export function toT3(snapshot: Snapshot): STRIPE_SUB_CACHE {
  const [first] = [...(snapshot.subscriptions ?? [])].sort(
    (a, b) => rank(a) - rank(b) || b.current_period_start - a.current_period_start,
  );
  if (!first) return { status: "none" };
  const card = first.payment_method;
  return {
    subscriptionId: first.id,
    status: first.status,
    priceId: first.items[0]?.price ?? null,
    currentPeriodStart: first.current_period_start,
    currentPeriodEnd: first.current_period_end,
    cancelAtPeriodEnd: first.cancel_at_period_end,
    paymentMethod: card ? { brand: card.brand ?? null, last4: card.last4 ?? null } : null,
  };
}
