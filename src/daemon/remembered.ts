import { type BootstrapToken, checkPass, decodeToken, type DeviceFacts, readPassFile } from "#identity";
import type { RememberedPeer } from "#mesh";
import type { DaemonConfig } from "./config.ts";
import type { Settings } from "./data-directory.ts";
import { given } from "./given.ts";
import type { NodeState } from "./node-state.ts";

/** What a node was once told it keeps, so that `portolan up` alone starts it again. */
export function rememberConfig(state: NodeState, { token, site, serial, model, labels }: DaemonConfig): void {
  const { settings, members, data, log } = state;
  if (token !== undefined) decodeToken(token, { nowMs: state.trustedMs(), ...given({ fleet: state.store.fleet }) });
  const told = {
    token,
    site,
    serial,
    model,
    labels: Object.keys(labels).length === 0 ? undefined : JSON.stringify(labels),
  };
  for (const [name, value] of Object.entries(told)) {
    if (value !== undefined) settings.set(name as keyof typeof told, value);
  }
  const signed = members.of(data.key.nodeId)?.site;
  if (site !== undefined && signed !== undefined && site !== signed) {
    log.warn("the site that is signed for this node counts, not --site", { signed, asked: site });
  }
}

/** Keeps a pass until it is used up, so that neither a crash nor the end of standard input loses it. A member needs none. */
export function rememberPass(
  { settings, members, data }: NodeState,
  pass: string | undefined,
  { passFile }: DaemonConfig,
): void {
  if (members.of(data.key.nodeId) !== undefined) return settings.delete("pass");
  const text = pass ?? (passFile === undefined ? undefined : readPassFile(passFile));
  if (text !== undefined) settings.set("pass", checkPass(text));
}

/** The number of this start: the time, or one more than at the last start if the clock has gone back since. */
export function nextBoot({ settings, clock }: NodeState): number {
  const boot = Math.max(Math.floor(clock.wallMs()), Number(settings.get("boot") ?? 0) + 1);
  settings.set("boot", String(boot));
  return boot;
}

/** The token this node was given. One that has expired lets nobody in, but still tells a member where its fleet is. Throws as `decodeToken`. */
export function rememberedToken({
  settings,
  store: { fleet },
  trustedMs,
}: Pick<NodeState, "settings" | "store" | "trustedMs">): BootstrapToken | undefined {
  const text = settings.get("token");
  if (text === undefined) return undefined;
  return decodeToken(text, fleet === undefined ? { nowMs: trustedMs() } : { nowMs: 0, fleet });
}

/** What this device says of itself when it joins. */
export function rememberedFacts(settings: Settings): DeviceFacts {
  const [site, serial, model] = [settings.get("site"), settings.get("serial"), settings.get("model")];
  const labels = JSON.parse(settings.get("labels") ?? "{}") as Record<string, string>;
  return { labels, ...given({ site, serial, model }) };
}

/** Peers that this node met before. */
export function rememberedPeers(settings: Settings): RememberedPeer[] {
  return JSON.parse(settings.get("peers") ?? "[]") as RememberedPeer[];
}

/** Where this node was reached when it last ran. */
export function lastAddresses(settings: Settings): string[] {
  return JSON.parse(settings.get("addresses") ?? "[]") as string[];
}
