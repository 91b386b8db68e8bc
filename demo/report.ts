import path from "node:path";
import type { Copy } from "./distribution.ts";
import type { DemoResult } from "./result.ts";
import { formatBytes, formatRate } from "./units.ts";

/** The report for people. `copies` beside the result, because who sent what is not in it. */
export function renderReport(result: DemoResult, copies: readonly Copy[], problems: readonly string[]): string {
  const { file, links, refused, seconds, boundSeconds } = result;
  const lines = [
    "",
    `${result.nodes} nodes in ${result.sites} sites; the file has ${formatBytes(file.bytes)}, sha256 ${file.sha256}`,
    ...refused.map(({ node, code }) => `Refused: ${node} (${code})`),
    "",
    "Copies, each compared with the file, and who sent them",
    ...copies.map((copy) => `  ${copyLine(copy, file.sha256)}`),
    "",
    "What crossed each site's WAN link, as its link process counted",
    ...links.map(({ site, rateBps, delayMs, bytesIn, bytesOut }) => {
      const share = file.bytes > 0 ? ` = ${(bytesIn / file.bytes).toFixed(2)} files` : "";
      const shape = `${formatRate(rateBps)} each way, ${delayMs} ms`;
      return `  ${site.padEnd(9)} ${shape}   in ${formatBytes(bytesIn)}${share}, out ${formatBytes(bytesOut)}`;
    }),
    "",
    ...(result.plug === null ? [] : [...plugLines(result.plug), ""]),
    `${seconds.toFixed(1)} s for all copies${result.plug === null ? "" : ", with those of who was killed"}. No way to do it over these links takes less than ${boundSeconds.toFixed(1)} s` +
      (boundSeconds > 0 ? ` (${(seconds / boundSeconds).toFixed(2)} times that).` : "."),
    ...problems.map((problem) => `PROBLEM: ${problem}`),
    result.ok ? "Everything held." : "Not everything held.",
    "",
  ];
  return lines.join("\n");
}

function plugLines({ client, server, killed, via, leader, session }: NonNullable<DemoResult["plug"]>): string[] {
  return [
    "Pulling the plug, with kill -9 while the file flowed",
    ...killed.map(({ node, was }) => `  ${node.padEnd(14)} ${was}`),
    `  ${session.program} at ${client} got ${formatBytes(session.bytes)} from ${server}, ${session.equal ? "equal" : "WRONG"}, over ${via.before} and then ${via.after}; longest pause ${(session.longestPauseMs / 1_000).toFixed(2)} s`,
    `  ${leader.site} got most over the WAN through ${leader.before}, and then through ${leader.after}`,
  ];
}

function copyLine({ record, sources }: Copy, wanted: string): string {
  const from = sources.map(({ node, bytes }) => `${node} ${formatBytes(bytes)}`).join(", ");
  return `${record.node.padEnd(14)} ${record.sha256 === wanted ? "equal" : "WRONG"}  ${from}`;
}

/** Commands to go on by hand, against this fleet and on real machines. */
export function renderTour(work: string, first: string, cwd: string): string {
  const root = path.relative(cwd, path.join(import.meta.dirname, ".."));
  const here = root.startsWith("..") ? path.resolve(cwd, root) : `.${root === "" ? "" : "/"}${root}`;
  const portolan = `${here}/bin/portolan`;
  return `The fleet stays up until Ctrl-C. Go on by hand in another terminal:

  export PORTOLAN_DATA=${path.join(work, "nodes", first)} XDG_CONFIG_HOME=${path.join(work, "config")}
  ${portolan} get nodes
  ${portolan} get artifacts
  ${portolan} describe artifact demo:1
  ${portolan} view
  ${portolan} publish ${here}/README.md --name readme:1
  ${portolan} stage readme:1 -l demo=yes --wait
  ${portolan} token

On two machines, the second of which reaches port 4001 of the first; \`up\` runs in a terminal of its own:

  first:    ./bin/portolan up --site a --listen /ip4/0.0.0.0/tcp/4001/tls
            ./bin/portolan fleet create plant --demo
            ./bin/portolan token
  second:   ./bin/portolan up --site b --token TOKEN
  first:    ./bin/portolan approve --all-pending
            ./bin/portolan publish FILE --name big:1
  second:   ./bin/portolan fetch big:1 -o FILE
`;
}
