import type { Command } from "commander";
import { Option } from "commander";
import { Fault } from "#core";
import { collectLabel } from "../labels.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { examples } from "./options.ts";

type PublishOptions = CommonOptions & {
  to: string;
  protocol: "tcp" | "udp" | "tcp+udp" | "http";
  label?: Record<string, string>;
  check?: string;
  priority: string;
  weight: string;
  replace?: boolean;
};

/** `service publish`, `service unpublish`. */
export function registerServices(program: Command, cli: Cli): void {
  const service = program.command("service").description("what this node lets the fleet reach: a camera, a web server");
  examples(
    service
      .command("publish <name>")
      .description("publish a service from this node, also after restarts; several nodes may publish the same one")
      .requiredOption("--to <host:port>", "where this node reaches it")
      .addOption(
        new Option("--protocol <protocol>", "what it speaks").choices(["tcp", "udp", "tcp+udp", "http"]).default("tcp"),
      )
      .option("--check <check>", "offer it while this succeeds: tcp, http=/PATH or exec=COMMAND (default: always)")
      .option("--label <key=value>", "a label; repeat for several", collectLabel)
      .option("--priority <number>", "the lower, the sooner it is tried", "0")
      .option("--weight <number>", "its share among those of the same priority", "1")
      .option("--replace", "take the place of another service that this node publishes by that name")
      .action(action<PublishOptions>(cli, publish)),
    "portolan service publish cam --to 192.168.7.20:554 --check tcp",
    "portolan service publish web --to localhost:8080 --protocol http --check http=/healthz --label tier=edge",
    "portolan service publish dns --to 127.0.0.1:53 --protocol udp --check 'exec=/usr/bin/dig @127.0.0.1 example.org'",
  );
  examples(
    service
      .command("unpublish <service>")
      .description("publish a service from this node no longer")
      .action(action(cli, unpublish)),
    "portolan service unpublish cam",
  );
}

async function publish(session: Session<PublishOptions>, [name = ""]: string[]): Promise<void> {
  const { to, protocol, label: labels = {}, check, replace = false } = session.options;
  const input = {
    name,
    to,
    protocol,
    labels,
    priority: numberOf("priority", session.options.priority),
    weight: numberOf("weight", session.options.weight),
    replace,
    ...(check === undefined ? {} : { check }),
  };
  await session.withDaemon((client) => client.call("publishService", input));
  session.print(`${name} is published: ${to}`);
}

async function unpublish(session: Session, [name = ""]: string[]): Promise<void> {
  await session.withDaemon((client) => client.call("unpublishService", { name }));
  session.print(`${name} is published no longer`);
}

function numberOf(flag: string, text: string): number {
  if (/^\d{1,5}$/u.test(text) && Number(text) <= 65_535) return Number(text);
  throw new Fault("cli.number", `--${flag} ${text} is not a number from 0 to 65535`, {
    exit: "invalid",
    fix: `Like: portolan service publish cam --to 192.168.7.20:554 --${flag} 10`,
  });
}
