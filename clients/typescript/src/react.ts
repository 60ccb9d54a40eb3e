"use client";
import { createContext, createElement, type ReactNode, useCallback, useContext, useSyncExternalStore } from "react";
import type { State } from "./customer.js";
import { allowed, has, limit } from "./decide.js";
import type { Entitled } from "./entitled.js";
import type { Decision } from "./model.js";

interface Value {
  readonly client: Entitled;
  readonly id: string;
  readonly initial: State;
}

const Context = createContext<Value | undefined>(undefined);

export interface EntitledProviderProps {
  readonly client: Entitled;
  /** The customer; by default the token's. */
  readonly customer?: string;
  /** What the server already knew, so that the first picture is right. */
  readonly initial?: Decision;
  readonly children?: ReactNode;
}

const nothing: State = {};

/** Gives the components below it a customer's entitlements. */
export function EntitledProvider({ client, customer = "me", initial, children }: EntitledProviderProps): ReactNode {
  return createElement(
    Context,
    { value: { client, id: customer, initial: initial ? { decision: initial } : nothing } },
    children,
  );
}

/** What components see of the customer. */
export interface Entitlements extends State {
  /** Whether an answer is here. Before that, every question is answered with no. */
  readonly ready: boolean;
  allowed(): boolean;
  has(feature: string): boolean;
  /** 0 without such a limit, `Infinity` if it is unlimited. */
  limit(name: string): number;
}

/** The customer's entitlements. The component renders again at each change, and when a grant ends. */
export function useEntitlements(): Entitlements {
  const value = useContext(Context);
  if (!value) throw new Error("useEntitlements, useFeature and useLimit need an EntitledProvider above them");
  const { client, id, initial } = value;
  const customer = client.customer(id);
  const state = useSyncExternalStore(
    useCallback((changed: () => void) => customer.onChange(changed), [customer]),
    () => customer.state,
    () => nothing,
  );
  const decision = state.decision ?? (state.error?.status === 403 ? undefined : initial.decision);
  return {
    ...state,
    ...(decision && { decision }),
    ready: !!decision,
    allowed: () => !!decision && allowed(decision, client.now()),
    has: (feature) => !!decision && has(decision, feature, client.now()),
    limit: (name) => (decision ? limit(decision, name, client.now()) : 0),
  };
}

/** Whether the customer may use a feature; false until that is known. */
export const useFeature = (feature: string): boolean => useEntitlements().has(feature);

/** The number that the customer has; 0 until that is known, `Infinity` if it is unlimited. */
export const useLimit = (name: string): number => useEntitlements().limit(name);
