import { type Command, Option } from "commander";
import type { Connect, ConnectProgress } from "#api";
import type { Io } from "../io.ts";
import { collect } from "../labels.ts";
import { toListenAddress } from "../listen-option.ts";
import { lineChars } from "../output.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { printable } from "../table.ts";
import { formatBytes, formatCount } from "../units.ts";
import { examples } from "./options.ts";

const STRATEGIES = ["closest", "least-open", "weighted", "sticky"] as const satisfies readonly Connect["strategy"][];

type ConnectOptions = CommonOptions & {
  listen: string;
  strategy: Connect["strategy"];
  selector?: string[];
  tenant?: string;
  failover?: string[];
};

/** `connect`. */
export function registerConnect(program: Command, cli: Cli): void {
  examples(
    program
      .command("connect <service>")
      .description("open a port of this machine that leads to a service of the fleet, until stopped with Ctrl-C")
      .option("--listen <host:port>", "listen here; port 0 takes a free one", "127.0.0.1:0")
      .addOption(
        new Option("--strategy <how>", "how to choose among several instances").choices(STRATEGIES).default("closest"),
      )
      .option("-l, --selector <terms>", "only instances that match, e.g. site=berlin; repeat for several", collect)
      .option(
        "--failover <service>",
        "where no instance takes a connection, go to this one; repeat for several",
        collect,
      )
      .option("--tenant <name>", "the tenant that the service belongs to (default: this node's)")
      .action(action<ConnectOptions>(cli, connect)),
    "portolan connect cam --listen 127.0.0.1:8554",
    "portolan connect api --strategy least-open -l site=berlin",
    "portolan connect cam --failover cam-backup --listen 127.0.0.1:8554",
  );
}

async function connect(session: Session<ConnectOptions>, [service = ""]: string[]): Promise<void> {
  const { listen, strategy, selector = [], tenant, failover = [] } = session.options;
  const input = {
    service,
    failover,
    listen: toListenAddress("--listen", listen),
    strategy,
    selector: selector.join(","),
    ...(tenant === undefined ? {} : { tenant }),
  };
  await session.withDaemon(async (client) => {
    const status = new StatusLine(session.io);
    let isListening = false;
    const onProgress = (now: ConnectProgress): void => {
      if (!isListening) {
        session.print(`listening on ${now.host.includes(":") ? `[${now.host}]` : now.host}:${now.port}`);
        for (const name of now.missing)
          session.say(`there is no service "${name}" just now; connections go there once there is`);
      }
      isListening = true;
      status.show(statusText(service, now));
    };
    try {
      await client.job("connect", input, onProgress);
    } finally {
      status.end();
    }
  });
}

function statusText(service: string, now: ConnectProgress): string {
  const what = { tcp: "connection", udp: "flow", "tcp+udp": "tunnel" }[now.protocol];
  const parts = [
    `${formatCount(now.open, what)} open, ${now.opened} in all`,
    `${formatBytes(now.sentBytes)} sent, ${formatBytes(now.receivedBytes)} received`,
  ];
  if (now.failed > 0) parts.push(`${now.failed} failed`);
  if (now.dropped > 0) parts.push(`${now.dropped} too many`);
  return `${service}: ${parts.join("; ")}`;
}

/** One line on a terminal that is written over; elsewhere nothing. */
class StatusLine {
  readonly #io: Io;
  #isShown = false;

  constructor(io: Io) {
    this.#io = io;
  }

  show(text: string): void {
    const { stderr } = this.#io;
    if (stderr.isTTY !== true) return;
    this.#isShown = true;
    stderr.write(`\r${printable(text).slice(0, lineChars(stderr) - 1)}\u001B[K`);
  }

  end(): void {
    if (this.#isShown) this.#io.stderr.write("\n");
  }
}
