const order = ["active", "trialing", "past_due", "unpaid", "paused", "incomplete", "canceled", "incomplete_expired"];
const rank = ({ status }) => (order.indexOf(status) + order.length + 1) % (order.length + 1);
/**
 * Makes a snapshot the value of the recipe. The recipe has one subscription; of several this takes the one with the
 * most favourable status, and of those the one whose period began last.
 */
export function toT3(snapshot) {
    const [first] = [...(snapshot.subscriptions ?? [])].sort((a, b) => rank(a) - rank(b) || b.current_period_start - a.current_period_start);
    if (!first)
        return { status: "none" };
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
