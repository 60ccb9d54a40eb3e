// The app's page follows the user's customer: a change in Stripe shows here, without a reload.
import { Entitled } from "/static/entitled/index.js";

const page = document.querySelector("#features");
const live = document.querySelector("#live");
const client = new Entitled({
  url: page.dataset.gateway,
  token: async () => {
    const response = await fetch("/token", { method: "POST" });
    if (!response.ok) throw new Error(`no token: ${response.status}`);
    return response.text();
  },
});
const customer = client.customer(); // the token's own
let revision;

customer.onChange(({ decision, staleSince, error }) => {
  live.textContent = staleSince ? `last heard at ${staleSince.toLocaleTimeString()}` : error ? "not connected" : "live";
  live.className = staleSince || error ? "away" : "on";
  for (const card of document.querySelectorAll("[data-feature]")) {
    const has = customer.has(card.dataset.feature);
    card.classList.toggle("on", has);
    card.querySelector("[data-state]").textContent = has ? "Included" : "Not in your plan";
  }
  for (const button of document.querySelectorAll("[data-needs]")) button.disabled = !customer.has(button.dataset.needs);
  for (const number of document.querySelectorAll("[data-limit]")) {
    const limit = customer.limit(number.dataset.limit);
    number.textContent = limit === Number.POSITIVE_INFINITY ? "unlimited" : String(limit);
  }
  if (revision !== undefined && decision) describe(decision.revision);
  revision ??= decision?.revision;
});

// The server writes the sentences about the subscription, so the page fetches them again. Only the answer to the latest
// request counts.
let asked = 0;
async function describe() {
  const mine = ++asked;
  const response = await fetch("/account");
  const html = await response.text();
  if (response.ok && mine === asked) document.querySelector("#account").innerHTML = html;
}
