import type { Clock } from "#core";
import type { Daemons } from "./daemons.ts";
import type { DnsClient } from "./dns-client.ts";

/** Node number I is in site I modulo 3; the last one, which looks up, in the last site. */
export const SITES = ["rome", "berlin", "hq"] as const;

/** What each part of the benchmark needs. */
export type World = {
  clock: Clock;
  daemons: Daemons<string>;
  seeker: string;
  dns: DnsClient;
  progress: (line: string) => void;
};

/** Those in other sites than the node that looks up. */
export const abroad = ({ daemons, seeker }: World): string[] =>
  daemons.names.filter((name, i) => name !== seeker && SITES[i % SITES.length] !== "hq");
