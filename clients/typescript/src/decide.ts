import { EntitledError } from "./error.js";
import type { Customers, Decision, Grant, LimitValue, Snapshot } from "./model.js";

/** Everything that the questions can be asked of. */
export type Evidence = Decision | Snapshot | Customers;

/**
 * Why a customer may use a feature, or why not. Of those that fit, the first:
 * `granted`, by a live grant other than the default · `default` · `ended`, a grant lists the feature and has ended ·
 * `no_feature`, some grant is live · `no_grant` · `deleted` · `unknown`.
 */
export type Reason = "granted" | "default" | "ended" | "no_feature" | "no_grant" | "deleted" | "unknown";

export interface Answer {
  readonly allowed: boolean;
  readonly reason: Reason;
  /** The source of the grant behind `granted`, `default` and `ended`: of several, the one that ends last. */
  readonly source?: string;
  /** The plan of that grant; absent if it has none, or several. */
  readonly plan?: string;
  /** When that grant ends or has ended, in unix seconds; absent if it is open-ended. */
  readonly until?: number;
}

const defaultSource = "default";
const schema = 1;

interface Held {
  readonly grant: Grant;
  readonly customer: string;
}

interface Facts {
  readonly held: readonly Held[];
  readonly known: boolean;
  readonly living: boolean;
}

const ofOne = (grants: readonly Grant[], customer: string): Held[] => grants.map((grant) => ({ grant, customer }));

function grantsOf(s: Snapshot): readonly Grant[] {
  if (s.schema > schema) {
    throw new EntitledError("schema", `the snapshot of ${s.customer} has schema ${s.schema}, this reads ${schema}`);
  }
  if (s.grants || !s.access) return s.grants ?? [];
  // An earlier version of entitled wrote it.
  return [{ features: s.features ?? [], ...(s.access_until === undefined ? {} : { until: s.access_until }) }];
}

function factsOf(evidence: Evidence): Facts {
  if ("known" in evidence) {
    return { held: ofOne(evidence.grants, ""), known: evidence.known, living: evidence.known && !evidence.deleted };
  }
  const several: Customers = "snapshots" in evidence ? evidence : { snapshots: [evidence] };
  const known = several.snapshots.filter((s) => s?.customer);
  const standard = several.default;
  return {
    held:
      known.length || !standard
        ? known.flatMap((s) => ofOne(grantsOf(s), s.customer))
        : ofOne([{ ...standard, source: defaultSource }], ""),
    known: known.length > 0,
    living: known.some((s) => !s.deleted),
  };
}

const endOf = (g: Grant): number => g.until ?? Number.POSITIVE_INFINITY;
const clock = (): number => Date.now() / 1000;

/** Whether some live grant other than the default exists. `now` is in unix seconds. */
export const allowed = (evidence: Evidence, now = clock()): boolean =>
  factsOf(evidence).held.some(({ grant }) => grant.source !== defaultSource && now < endOf(grant));

/** Whether the customer may use a feature. `now` is in unix seconds. */
export const has = (evidence: Evidence, feature: string, now = clock()): boolean =>
  factsOf(evidence).held.some(({ grant }) => now < endOf(grant) && grant.features?.includes(feature));

const number = (value: LimitValue): number => (value === "unlimited" ? Number.POSITIVE_INFINITY : value);

function sum(evidence: Evidence, name: string, now: number): { value: number; known: boolean } {
  let most = 0;
  let adds = 0;
  let known = false;
  for (const { grant } of factsOf(evidence).held) {
    if (now >= endOf(grant)) continue;
    for (const [values, isLimit] of [
      [grant.limits, true],
      [grant.adds, false],
    ] as const) {
      if (!values || !Object.hasOwn(values, name)) continue;
      const value = number(values[name] as LimitValue);
      known = true;
      if (isLimit) most = Math.max(most, value);
      else adds = Math.min(adds + value, Number.MAX_SAFE_INTEGER);
    }
  }
  const total = most === Number.POSITIVE_INFINITY ? most : Math.min(most + adds, Number.MAX_SAFE_INTEGER);
  return { value: total, known };
}

/**
 * The number that a customer has: the largest live limit of that name plus the live adds; 0 without one, `Infinity` if
 * it is unlimited. `now` is in unix seconds.
 */
export const limit = (evidence: Evidence, name: string, now = clock()): number => sum(evidence, name, now).value;

/** Whether some live grant names the limit at all. */
export const limitKnown = (evidence: Evidence, name: string, now = clock()): boolean => sum(evidence, name, now).known;

/** Whether b names the grant better than a: it ends later, then has the smaller source, then the smaller customer. */
function better(a: Held | undefined, b: Held): boolean {
  if (!a) return true;
  const [one, other] = [endOf(a.grant), endOf(b.grant)];
  if (one !== other) return other > one;
  const [source, otherSource] = [a.grant.source ?? "", b.grant.source ?? ""];
  return otherSource < source || (otherSource === source && b.customer < a.customer);
}

function answer(allowed: boolean, reason: Reason, { source, plans, until }: Grant): Answer {
  return {
    allowed,
    reason,
    ...(source ? { source } : {}),
    ...(plans?.length === 1 ? { plan: plans[0] as string } : {}),
    ...(until === undefined ? {} : { until }),
  };
}

/** Answers as {@link has}, and says why. `now` is in unix seconds. */
export function decide(evidence: Evidence, feature: string, now = clock()): Answer {
  const { held, known, living } = factsOf(evidence);
  let best: Held | undefined;
  let standard: Held | undefined;
  for (const one of held) {
    if (!one.grant.features?.includes(feature)) continue;
    if (one.grant.source === defaultSource) {
      if (better(standard, one)) standard = one;
    } else if (better(best, one)) best = one;
  }
  if (best && now < endOf(best.grant)) return answer(true, "granted", best.grant);
  if (standard && now < endOf(standard.grant)) return answer(true, "default", standard.grant);
  if (best) return answer(false, "ended", best.grant);
  const reason = allowed(evidence, now) ? "no_feature" : living ? "no_grant" : known ? "deleted" : "unknown";
  return { allowed: false, reason };
}

/** When the next grant ends after `now`, in unix seconds; `Infinity` if none does. */
export const nextEnd = (decision: Decision, now: number): number =>
  Math.min(...decision.grants.map(endOf).filter((end) => end > now), Number.POSITIVE_INFINITY);
