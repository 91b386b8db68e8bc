import type { Finding, Handlers, LimitsNow, Status } from "#api";
import { keyHash, OUT_OF_TOUCH_MS, sixWords } from "#identity";
import type { Host, OtherFleet } from "#mesh";
import type { StoreUsage } from "../artifact-keeper.ts";
import { type NodeState, nodeName } from "../node-state.ts";
import { rememberedToken } from "../remembered.ts";
import type { Caller, Reachability } from "../reachability.ts";
import type { JoinStatus } from "../standing.ts";

/** Room below which `doctor` speaks up, as a share of what the store may hold; at a tenth the store makes room by itself. */
const LOW_SPACE_RATIO = 0.05;
/** A member document that ends sooner than this was not renewed in time: renewal is tried from two thirds of its life on. */
const RENEWAL_LATE_RATIO = 0.8;

export type StatusDeps = {
  host: Host | undefined;
  join: () => JoinStatus;
  /** Heard on the local network. */
  otherFleets: () => OtherFleet[];
  usage: () => Promise<StoreUsage>;
  limits: { now(): LimitsNow } | undefined;
  reachability: Reachability | undefined;
};

/** What this node says about itself. */
export function statusHandlers(state: NodeState, deps: StatusDeps): Pick<Handlers, "status" | "identity" | "doctor"> {
  return {
    status: () => nodeStatus(state, deps),
    identity: async () => {
      const { key } = state.data;
      const fleet = state.store.fleet ?? tokenFleet(state);
      const serial = state.settings.get("serial");
      return {
        name: nodeName(state),
        node: key.nodeId,
        peerId: key.nodeId,
        publicKey: Buffer.from(key.key.publicKey).toString("base64"),
        keyHash: keyHash(key.key.publicKey),
        ...(serial === undefined ? {} : { serial }),
        ...(fleet === undefined ? {} : { fleet, words: sixWords(fleet, key.key.publicKey) }),
      };
    },
    doctor: async () => ({ findings: await examine(state, deps) }),
  };
}

/** The fleet that this node asks to join; the person who approves it compares words that depend on it. */
function tokenFleet(state: NodeState): string | undefined {
  try {
    return rememberedToken(state)?.fleet;
  } catch {
    return undefined; // expired meanwhile: `status` says so
  }
}

async function nodeStatus(state: NodeState, { host, join, usage, limits }: StatusDeps): Promise<Status> {
  const { store, members, data, settings } = state;
  const { charter } = store;
  const joined = join();
  const own = members.of(data.key.nodeId);
  const cutOffMs = own === undefined || host === undefined ? undefined : state.contact.aloneMs(state.clock.nowMs());
  const documents = [...store.all()].length;
  return {
    name: nodeName(state),
    nodeId: data.key.nodeId,
    site: own?.site ?? settings.get("site") ?? "",
    ...(store.fleet === undefined ? {} : { fleet: store.fleet }),
    ...(charter === undefined ? {} : { fleetName: charter.body.metadata.name }),
    state: joined.state,
    offline: host === undefined,
    ...(joined.problem === undefined ? {} : { join: joined.problem }),
    version: state.version,
    pid: process.pid,
    uptimeSeconds: Math.round((state.clock.nowMs() - state.startedMs) / 1_000),
    data: data.path,
    addresses: host?.addresses() ?? [],
    links: host?.sessions().length ?? 0,
    nodes: members.all().length,
    documents: { count: documents, digest: Buffer.from(store.digest()).toString("hex") },
    charterVersion: charter?.body.version ?? 0,
    ...(own === undefined ? {} : { memberExpires: new Date(own.expiresMs).toISOString() }),
    autonomous: own?.autonomous ?? false,
    ...(cutOffMs === undefined ? {} : { cutOffSeconds: Math.round(cutOffMs / 1_000) }),
    time: { now: new Date(state.trustedMs()).toISOString(), confirmed: state.time.confirmed },
    store: await usage(),
    ...(limits === undefined ? {} : { limits: limits.now() }),
    warnings: settings.get("demo") === undefined ? [] : [DEMO_WARNING],
  };
}

const DEMO_WARNING =
  "This is a demo fleet: all its keys lie unsealed on one machine. Do not put anything of value in it.";

/** Looks at everything that commonly goes wrong; each finding names the cause and the next command. */
async function examine(state: NodeState, deps: StatusDeps): Promise<Finding[]> {
  return [
    ...examineFleet(state, deps),
    ...examineMembership(state, deps),
    ...examineContact(state, deps),
    ...examineMachine(state),
    ...examineNetwork(deps),
    ...examineReach(state, deps),
    examineClock(state),
    await examineDisk(deps),
  ];
}

function examineFleet(state: NodeState, { join }: StatusDeps): Finding[] {
  const findings: Finding[] = [];
  if (state.settings.get("demo") !== undefined) {
    findings.push({
      level: "warn",
      subject: "keys",
      cause: DEMO_WARNING,
      next: "portolan fleet create NAME --owner a.pub --owner b.pub --owner c.pub --threshold 2",
    });
  }
  const { state: is } = join();
  if (is === "no-fleet") {
    findings.push({
      level: "error",
      subject: "fleet",
      cause: "This node belongs to no fleet.",
      next: "portolan up --token TOKEN",
    });
  } else if (is === "forming") {
    findings.push({
      level: "error",
      subject: "fleet",
      cause: "The fleet's charter or this node's Registrar document lacks signatures.",
      next: "portolan get pending",
    });
  } else {
    findings.push({
      level: "ok",
      subject: "fleet",
      cause: `Belongs to fleet ${state.store.charter?.body.metadata.name ?? ""}.`,
    });
  }
  return findings;
}

function examineMembership(state: NodeState, { join }: StatusDeps): Finding[] {
  const joined = join();
  if (joined.problem !== undefined) {
    const { code, reason, next } = joined.problem;
    return [
      { level: joined.state === "pending" ? "warn" : "error", subject: "joining", cause: `${reason} (${code})`, next },
    ];
  }
  const own = state.members.of(state.data.key.nodeId);
  if (own === undefined) return [];
  if (own.autonomous) {
    const cause = `The membership ended at ${new Date(own.expiresMs).toISOString()}: only neighbours that hear no registrar either go by it.`;
    return [{ level: "warn", subject: "membership", cause, next: "portolan get links" }];
  }
  const leftMs = own.expiresMs - state.trustedMs();
  const bornMs = Date.parse(own.document.body.notBefore);
  if (!own.registrar && leftMs < (own.expiresMs - bornMs) * (1 - RENEWAL_LATE_RATIO)) {
    const cause = `The membership ends at ${new Date(own.expiresMs).toISOString()} and was not renewed: no registrar answers.`;
    return [{ level: "warn", subject: "membership", cause, next: "portolan get links" }];
  }
  return [{ level: "ok", subject: "membership", cause: `Admitted as ${own.name} in site ${own.site}.` }];
}

/** A site that is cut off goes on; its people should know what does not work meanwhile. */
function examineContact({ members, data, contact, clock }: NodeState, { host }: StatusDeps): Finding[] {
  const aloneMs = contact.aloneMs(clock.nowMs());
  if (host === undefined || members.of(data.key.nodeId) === undefined) return [];
  if (aloneMs === undefined || aloneMs < OUT_OF_TOUCH_MS) {
    return aloneMs === undefined ? [{ level: "ok", subject: "registrar", cause: "A registrar is heard." }] : [];
  }
  const autonomous = members.all().filter((member) => member.autonomous).length;
  const cause = `No registrar was heard for ${Math.round(aloneMs / 60_000)} minutes: nobody can join or renew. ${autonomous} nodes go on past the end of their membership.`;
  return [{ level: "warn", subject: "registrar", cause, next: "portolan get links" }];
}

/** A key that is in use twice, here or elsewhere. */
function examineMachine({ machine, members, quarantine }: NodeState): Finding[] {
  const clones = quarantine.all().map(({ node }): Finding => {
    const name = members.nameOf(node);
    const cause = `Two machines use the key of ${name}: its data directory was copied. Both are shut out.`;
    return {
      level: "error",
      subject: "clone",
      cause,
      next: `portolan machine rekey, on the copy; then portolan approve ${name}`,
    };
  });
  if (machine.changed.length === 0) return clones;
  const cause = `This data directory comes from another machine (${machine.changed.join(", ")} differ). If it was copied, this node needs a key of its own.`;
  return [
    ...clones,
    { level: "warn", subject: "machine", cause, next: "portolan machine rekey, or portolan machine accept" },
  ];
}

function examineNetwork({ host, join, otherFleets }: StatusDeps): Finding[] {
  if (host === undefined) {
    return [
      { level: "error", subject: "daemon", cause: "No daemon runs on this data directory.", next: "portolan up" },
    ];
  }
  const links = host.sessions();
  const suspects = links.filter((link) => link.suspect()).length;
  const findings: Finding[] = [];
  if (links.length === 0 && join().state === "member") {
    findings.push({
      level: "error",
      subject: "links",
      cause: "No neighbour is connected.",
      next: "portolan get nodes -o wide",
    });
  } else {
    const cause = `${links.length} neighbour${links.length === 1 ? "" : "s"}, ${suspects} of them silent just now.`;
    findings.push({ level: suspects > links.length / 2 ? "warn" : "ok", subject: "links", cause });
  }
  for (const { tag, address } of otherFleets()) {
    const cause = `Another fleet (${tag}) is on this network, at ${address}. The two do not mix.`;
    findings.push({ level: "ok", subject: "other fleet", cause });
  }
  return findings;
}

/** Who connected to this node, which is all that shows whether others can. Those that cannot reach it over circuits. */
function examineReach({ clock }: NodeState, { host, reachability, join }: StatusDeps): Finding[] {
  if (host === undefined || reachability === undefined) return [];
  const ago = ({ name, site, atMs }: Caller): string => {
    const minutes = Math.round((clock.nowMs() - atMs) / 60_000);
    return `${name} in ${site} did ${minutes < 1 ? "just now" : `${minutes} minute${minutes === 1 ? "" : "s"} ago`}`;
  };
  const subject = "reach";
  const addresses = host.addresses();
  const { near, far } = reachability;
  if (addresses.length === 0) {
    const cause = "This node accepts no connections: others reach it over those that it connects to.";
    return [{ level: "info", subject, cause, next: "portolan up --listen /ip4/0.0.0.0/tcp/4001/tls" }];
  }
  const listens = `Listens at ${addresses.join(", ")}.`;
  if (far !== undefined)
    return [{ level: "ok", subject, cause: `${listens} Others connect from other sites: ${ago(far)}.` }];
  if (join().state !== "member") return [{ level: "info", subject, cause: listens }];
  const seen =
    near === undefined ? "Nobody has connected to it yet" : `Only its own site has connected to it: ${ago(near)}`;
  const cause = `${listens} ${seen}. Whom it connects to itself, or who carries for it, reaches it all the same.`;
  return [{ level: "info", subject, cause, next: "portolan get links -o wide" }];
}

/** The clock of a machine that lost its battery is years off; a beacon or a document tells. */
function examineClock(state: NodeState): Finding {
  const aheadMs = state.clock.wallMs() - state.trustedMs();
  if (Math.abs(aheadMs) < 5 * 60_000)
    return { level: "ok", subject: "clock", cause: "The clock agrees with the fleet's time." };
  const minutes = Math.round(Math.abs(aheadMs) / 60_000);
  const cause = `This machine's clock is ${minutes} minutes ${aheadMs > 0 ? "ahead of" : "behind"} the fleet's time.`;
  return { level: "warn", subject: "clock", cause, next: "timedatectl set-ntp true" };
}

async function examineDisk({ usage }: StatusDeps): Promise<Finding> {
  const { usedBytes, dueBytes, limitBytes, limitedBy } = await usage();
  const leftBytes = limitBytes - usedBytes - dueBytes;
  const left = `${(Math.max(0, leftBytes) / 2 ** 30).toFixed(1)} GiB`;
  if (leftBytes > limitBytes * LOW_SPACE_RATIO)
    return { level: "ok", subject: "disk", cause: `${left} left for the store.` };
  const why = limitedBy === "quota" ? "of its quota" : "on its disk";
  const cause = `The store has ${left} left ${why}, and cannot spare enough by itself: fetches will wait.`;
  return { level: "warn", subject: "disk", cause, next: "portolan prune --dry-run" };
}
