import type { Command } from "commander";
import type { LegView } from "#api";
import { termsText } from "../columns.ts";
import { serialise } from "../output.ts";
import { type Cli, action, type Session } from "../session.ts";
import { printable } from "../table.ts";
import { examples, formats } from "./options.ts";

/** `route`. */
export function registerRoutes(program: Command, cli: Cli): void {
  examples(
    formats(program.command("route <node>"))
      .description("show the cheapest way to a node, what each link on it costs, and the way to take when it fails")
      .action(action(cli, showRoute)),
    "portolan route genoa-3",
    "portolan get routes",
  );
}

async function showRoute(session: Session, [name = ""]: string[]): Promise<void> {
  await session.withDaemon(async (client) => {
    const route = await client.call("routes.get", { name });
    const { output } = session.options;
    if (output === "name") return session.print(`route/${route.name}`);
    if (output === "json" || output === "yaml") return session.print(await serialise(route, output));
    const { backup } = route;
    const lines = [wayText(`to ${route.name}`, route), ...route.legs.map(legText)];
    if (backup === undefined) lines.push("there is no other way");
    else lines.push(wayText("if that fails", backup), ...backup.legs.map(legText));
    for (const line of lines) session.print(printable(line));
  });
}

/** `to pump: cost 652, 2 hops`. */
export function wayText(what: string, { cost, legs }: { cost: number; legs: readonly LegView[] }): string {
  return `${what}: cost ${cost}, ${legs.length} ${legs.length === 1 ? "hop" : "hops"}`;
}

/** One link of a way, with what its cost is the sum of, or a way inside a site. */
export function legText({ from, to, cost, inside, ...terms }: LegView): string {
  if (inside !== undefined) return `  ${from} → ${to}: ${cost}, inside ${inside}`;
  return `  ${from} → ${to}: ${cost} = ${termsText(terms)}`;
}
