import type { Command } from "commander";
import type { Explanation, RouteDetail } from "#api";
import { serialise } from "../output.ts";
import { type Cli, action, type Session } from "../session.ts";
import { printable } from "../table.ts";
import { examples, formats } from "./options.ts";
import { legText, wayText } from "./routes.ts";

/** `explain`. */
export function registerExplain(program: Command, cli: Cli): void {
  examples(
    formats(program.command("explain <node>"))
      .description(
        "say why the way to a node is this one: what it costs, how the backup compares, what keeps others from use",
      )
      .action(action(cli, explain)),
    "portolan explain genoa-3",
  );
}

async function explain(session: Session, [name = ""]: string[]): Promise<void> {
  await session.withDaemon(async (client) => {
    const explanation = await client.call("explain", { name });
    const { output } = session.options;
    if (output === "name") return session.print(`node/${explanation.name}`);
    if (output === "json" || output === "yaml") return session.print(await serialise(explanation, output));
    for (const line of linesOf(explanation)) session.print(printable(line));
  });
}

function linesOf({ name, route, untaken, topology }: Explanation): string[] {
  const lines = route === undefined ? [`no way leads to ${name}`] : routeLines(name, route);
  const others = untaken.map((way) => `not taken: cost ${way.cost}, ${viaText(way.via)}: ${whyText(way, topology)}`);
  if (others.length > 0) return [...lines, ...others];
  return [
    ...lines,
    route === undefined ? "nothing is known that would make one" : "nothing keeps a cheaper way from use",
  ];
}

function routeLines(name: string, route: RouteDetail): string[] {
  const lines = [wayText(`to ${name}`, route), ...route.legs.map(legText)];
  const { backup } = route;
  if (backup === undefined) return [...lines, "there is no other way"];
  const gateways = new Set(route.legs.slice(0, -1).map(({ to }) => to));
  const shared = backup.legs.slice(0, -1).flatMap(({ to }) => (gateways.has(to) ? [to] : []));
  const more = `${backup.cost - route.cost} more, ${shared.length === 0 ? "with no node in common" : `over ${shared.join(", ")} too`}`;
  return [...lines, `${wayText("if that fails", backup)}: ${more}`, ...backup.legs.map(legText)];
}

function viaText(via: readonly string[]): string {
  return via.length === 0 ? "direct" : `via ${via.join(", ")}`;
}

function whyText({ why, at }: Explanation["untaken"][number], topology = ""): string {
  const places = at.map((ends) => ends.join(" → ")).join(", ");
  if (why === "forbidden") return `${places} forbidden by topology ${topology}`;
  if (why === "no-transit") return `${places} ${at.length === 1 ? "does" : "do"} not carry for others`;
  return why === "one-end" ? `only one end tells of ${places}` : `${places} does not answer probes`;
}
