import type { LinkStats } from "./link-contract.ts";
import { fluidBoundSeconds, type SitePlan } from "./plan.ts";
import type { PlugRecord } from "./plug.ts";
import type { Bypass } from "./tcp-table.ts";

/** One node's copy, written out and hashed by the demo. When and whence it came is what the node's own daemon says. */
export type CopyRecord = {
  node: string;
  site: string;
  pid: number;
  path: string;
  /** Hex. */
  sha256: string;
  startedAt: string | null;
  finishedAt: string | null;
  bytesFromSite: number;
  bytesFromWan: number;
};

/** What a run shows; `--json` prints it. Bytes of `links` come from the link processes, never from the daemons. */
export type DemoResult = {
  ok: boolean;
  /** Daemons that belong to the fleet. */
  nodes: number;
  sites: number;
  file: { bytes: number; sha256: string };
  copies: CopyRecord[];
  refused: { node: string; code: string }[];
  links: { site: string; rateBps: number; delayMs: number; bytesIn: number; bytesOut: number }[];
  /** From the first node's start to the last one's end, as their daemons say. */
  seconds: number;
  boundSeconds: number;
  /** What was killed meanwhile, and what went on; `null`: nothing was. */
  plug: PlugRecord | null;
};

export type Evidence = {
  nodes: number;
  sites: readonly SitePlan[];
  file: { bytes: number; sha256: string };
  copies: readonly CopyRecord[];
  refused: readonly { node: string; code: string }[];
  links: readonly LinkStats[];
  bypasses: readonly Bypass[];
  plug: PlugRecord | undefined;
};

/** Judges a run. `problems` says for people why it is not ok. */
export function judgeRun(evidence: Evidence): { result: DemoResult; problems: string[] } {
  const { nodes, sites, file, copies, links } = evidence;
  const rates = links.map(({ rateBps }) => rateBps);
  const problems = [
    ...findWrongCopies(copies, nodes, file.sha256),
    ...findWrongRefusals(evidence.refused),
    ...findWrongLinks(evidence),
    ...findWrongPlug(evidence.plug),
  ];
  const result: DemoResult = {
    ok: problems.length === 0,
    nodes,
    sites: sites.length,
    file,
    copies: [...copies],
    refused: [...evidence.refused],
    links: links.map(({ site, rateBps, delayMs, bytesIn, bytesOut }) => {
      return { site: sites[site - 1]?.name ?? String(site), rateBps, delayMs, bytesIn, bytesOut };
    }),
    seconds: secondsOf(copies),
    boundSeconds: fluidBoundSeconds(file.bytes, rates, rates),
    plug: evidence.plug ?? null,
  };
  return { result, problems };
}

function secondsOf(copies: readonly CopyRecord[]): number {
  const times = (key: "startedAt" | "finishedAt"): number[] =>
    copies.flatMap((copy) => (copy[key] === null ? [] : [Date.parse(copy[key])]));
  const [started, finished] = [times("startedAt"), times("finishedAt")];
  if (started.length === 0 || finished.length === 0) return 0;
  return (Math.max(...finished) - Math.min(...started)) / 1_000;
}

function findWrongCopies(copies: readonly CopyRecord[], nodes: number, sha256: string): string[] {
  const problems = copies
    .filter((copy) => copy.sha256 !== sha256)
    .map(({ node }) => `the copy of ${node} is not the file`);
  if (copies.length !== nodes - 1) problems.push(`${copies.length} copies, but ${nodes - 1} nodes should have one`);
  return problems;
}

function findWrongRefusals(refused: Evidence["refused"]): string[] {
  return refused.length === 1 ? [] : [`${refused.length} nodes were refused, and it should be the one without a claim`];
}

function findWrongPlug(plug: PlugRecord | undefined): string[] {
  if (plug === undefined || plug.session.equal) return [];
  return [`the download at ${plug.client} ended, or is not what ${plug.server} sent`];
}

/** Beside the connections seen: a site cannot have the file with fewer bytes through its link than the file has. */
function findWrongLinks({ links, sites, file, bypasses }: Evidence): string[] {
  const problems = bypasses.map(({ local, remote }) => `a connection goes round the links: ${local} to ${remote}`);
  for (const { site, bytesIn } of links.slice(1)) {
    if (bytesIn >= file.bytes) continue;
    problems.push(
      `only ${bytesIn} bytes came through the link of ${sites[site - 1]?.name}, and the file has ${file.bytes}`,
    );
  }
  return problems;
}
