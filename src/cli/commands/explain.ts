import type { Command } from "commander";
import type { ControlClient, Explanation, RouteDetail, ServiceDetail } from "#api";
import { Fault, faultCode } from "#core";
import { serialise } from "../output.ts";
import { type Cli, action, type Session } from "../session.ts";
import { printable } from "../table.ts";
import { formatCount } from "../units.ts";
import { examples, formats } from "./options.ts";
import { legText, wayText } from "./routes.ts";

/** Why connections to a service go to this instance; `explanation`: of the way there, absent where it is on this node. */
type ServiceExplanation = { service: ServiceDetail; explanation?: Explanation };

/** `explain`. */
export function registerExplain(program: Command, cli: Cli): void {
  examples(
    formats(program.command("explain <node|service>"))
      .description(
        "say why the way to a node, or to the closest node with a service, is this one: what it costs, how the backup compares, what keeps others from use",
      )
      .action(action(cli, explain)),
    "portolan explain genoa-3",
    "portolan explain cam",
  );
}

async function explain(session: Session, [name = ""]: string[]): Promise<void> {
  await session.withDaemon(async (client) => {
    const found = await explanationOf(client, name);
    const { output } = session.options;
    if (output === "name")
      return session.print("service" in found ? `service/${found.service.name}` : `node/${found.name}`);
    if (output === "json" || output === "yaml") return session.print(await serialise(found, output));
    const lines = "service" in found ? serviceLines(found) : linesOf(found);
    for (const line of lines) session.print(printable(line));
  });
}

/** A node's name goes before a service's. */
async function explanationOf(client: ControlClient, name: string): Promise<Explanation | ServiceExplanation> {
  try {
    return await client.call("explain", { name });
  } catch (error) {
    if (faultCode(error) !== "api.no-such") throw error;
  }
  const service = await client.call("services.get", { name }).catch((error: unknown) => {
    if (faultCode(error) !== "api.no-such") throw error;
    throw new Fault("api.no-such", `there is no node "${name}", and no service of that name`, {
      exit: "missing",
      fix: "see what there is: portolan get nodes, portolan get services",
    });
  });
  const [closest] = healthyOf(service);
  if (closest === undefined || closest.path === "local") return { service };
  return { service, explanation: await client.call("explain", { name: closest.nodeId }) };
}

/** As `connect --strategy closest` tries them. */
const healthyOf = ({ instances }: ServiceDetail): ServiceDetail["instances"] =>
  instances.filter(({ state }) => state === "healthy");

function serviceLines({ service, explanation }: ServiceExplanation): string[] {
  const { name, instances } = service;
  const healthy = healthyOf(service);
  const [closest, ...rest] = healthy;
  if (closest === undefined) {
    const why = instances.map(({ node, state, reason }) => `  ${node}: ${reason ?? state}`);
    return [`${name} is on ${formatCount(instances.length, "node")}, and healthy on none`, ...why];
  }
  const { node, priority, cost } = closest;
  const others = rest.map(
    (other) =>
      `  then ${other.node}: ${other.priority > priority ? `priority ${other.priority}` : `cost ${other.cost}`}`,
  );
  const place = closest.path === "local" ? "this node itself" : node;
  return [
    `${name} is on ${formatCount(instances.length, "node")}, healthy on ${healthy.length}: connections go to ${place}, priority ${priority}, cost ${cost}`,
    ...others,
    ...(explanation === undefined ? [] : linesOf(explanation)),
  ];
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
