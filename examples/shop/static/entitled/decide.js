import { EntitledError } from "./error.js";
const defaultSource = "default";
const schema = 1;
const ofOne = (grants, customer) => grants.map((grant) => ({ grant, customer }));
function grantsOf(s) {
    if (s.schema > schema) {
        throw new EntitledError("schema", `the snapshot of ${s.customer} has schema ${s.schema}, this reads ${schema}`);
    }
    if (s.grants || !s.access)
        return s.grants ?? [];
    // An earlier version of entitled wrote it.
    return [{ features: s.features ?? [], ...(s.access_until === undefined ? {} : { until: s.access_until }) }];
}
function factsOf(evidence) {
    if ("known" in evidence) {
        return { held: ofOne(evidence.grants, ""), known: evidence.known, living: evidence.known && !evidence.deleted };
    }
    const several = "snapshots" in evidence ? evidence : { snapshots: [evidence] };
    const known = several.snapshots.filter((s) => s?.customer);
    const standard = several.default;
    return {
        held: known.length || !standard
            ? known.flatMap((s) => ofOne(grantsOf(s), s.customer))
            : ofOne([{ ...standard, source: defaultSource }], ""),
        known: known.length > 0,
        living: known.some((s) => !s.deleted),
    };
}
const endOf = (g) => g.until ?? Number.POSITIVE_INFINITY;
const clock = () => Date.now() / 1000;
/** Whether some live grant other than the default exists. `now` is in unix seconds. */
export const allowed = (evidence, now = clock()) => factsOf(evidence).held.some(({ grant }) => grant.source !== defaultSource && now < endOf(grant));
/** Whether the customer may use a feature. `now` is in unix seconds. */
export const has = (evidence, feature, now = clock()) => factsOf(evidence).held.some(({ grant }) => now < endOf(grant) && grant.features?.includes(feature));
const number = (value) => (value === "unlimited" ? Number.POSITIVE_INFINITY : value);
function sum(evidence, name, now) {
    let most = 0;
    let adds = 0;
    let known = false;
    for (const { grant } of factsOf(evidence).held) {
        if (now >= endOf(grant))
            continue;
        for (const [values, isLimit] of [
            [grant.limits, true],
            [grant.adds, false],
        ]) {
            if (!values || !Object.hasOwn(values, name))
                continue;
            const value = number(values[name]);
            known = true;
            if (isLimit)
                most = Math.max(most, value);
            else
                adds = Math.min(adds + value, Number.MAX_SAFE_INTEGER);
        }
    }
    const total = most === Number.POSITIVE_INFINITY ? most : Math.min(most + adds, Number.MAX_SAFE_INTEGER);
    return { value: total, known };
}
/**
 * The number that a customer has: the largest live limit of that name plus the live adds; 0 without one, `Infinity` if
 * it is unlimited. `now` is in unix seconds.
 */
export const limit = (evidence, name, now = clock()) => sum(evidence, name, now).value;
/** Whether some live grant names the limit at all. */
export const limitKnown = (evidence, name, now = clock()) => sum(evidence, name, now).known;
/** Whether b names the grant better than a: it ends later, then has the smaller source, then the smaller customer. */
function better(a, b) {
    if (!a)
        return true;
    const [one, other] = [endOf(a.grant), endOf(b.grant)];
    if (one !== other)
        return other > one;
    const [source, otherSource] = [a.grant.source ?? "", b.grant.source ?? ""];
    return otherSource < source || (otherSource === source && b.customer < a.customer);
}
function answer(allowed, reason, { source, plans, until }) {
    return {
        allowed,
        reason,
        ...(source ? { source } : {}),
        ...(plans?.length === 1 ? { plan: plans[0] } : {}),
        ...(until === undefined ? {} : { until }),
    };
}
/** Answers as {@link has}, and says why. `now` is in unix seconds. */
export function decide(evidence, feature, now = clock()) {
    const { held, known, living } = factsOf(evidence);
    let best;
    let standard;
    for (const one of held) {
        if (!one.grant.features?.includes(feature))
            continue;
        if (one.grant.source === defaultSource) {
            if (better(standard, one))
                standard = one;
        }
        else if (better(best, one))
            best = one;
    }
    if (best && now < endOf(best.grant))
        return answer(true, "granted", best.grant);
    if (standard && now < endOf(standard.grant))
        return answer(true, "default", standard.grant);
    if (best)
        return answer(false, "ended", best.grant);
    const reason = allowed(evidence, now) ? "no_feature" : living ? "no_grant" : known ? "deleted" : "unknown";
    return { allowed: false, reason };
}
/** When the next grant ends after `now`, in unix seconds; `Infinity` if none does. */
export const nextEnd = (decision, now) => Math.min(...decision.grants.map(endOf).filter((end) => end > now), Number.POSITIVE_INFINITY);
