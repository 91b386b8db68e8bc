import type { Command } from "commander";
import type { Limits, LimitsNow, RateChange } from "#api";
import { Fault } from "#core";
import { describe, serialise } from "../output.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { formatRates, formatWhen, parseSeconds } from "../units.ts";
import { examples, formats } from "./options.ts";

/** Flags and what they limit. */
const FLAGS = {
  upload: ["uploadBps"],
  download: ["downloadBps"],
  wan: ["wanUploadBps", "wanDownloadBps"],
  wanUpload: ["wanUploadBps"],
  wanDownload: ["wanDownloadBps"],
} as const satisfies Record<string, readonly (keyof RateChange)[]>;

type SetOptions = CommonOptions & { [F in keyof typeof FLAGS]?: string } & { for?: string };

/** `limits`, `limits set`, `limits reset`. */
export function registerLimits(program: Command, cli: Cli): void {
  const limits = formats(program.command("limits"))
    .description("show how fast artifacts may come and go, now and at other times")
    .action(action(cli, (session) => print(session, (client) => client.call("limits", {}))));
  examples(limits, "portolan limits", "portolan limits set --wan 500k --for 2h", "portolan limits reset");
  examples(
    formats(limits.command("set"))
      .description("other limits from now on, before those of the configuration; what was set before counts no longer")
      .option("--upload <rate>", "bytes per second to all nodes together, like 800k or 10M, or unlimited")
      .option("--download <rate>", "from all nodes together")
      .option("--wan <rate>", "to other sites, and the same from other sites")
      .option("--wan-upload <rate>", "to other sites")
      .option("--wan-download <rate>", "from other sites")
      .option("--for <time>", "for so long, e.g. 30m or 2h (default: until limits reset)")
      .action(action<SetOptions>(cli, set)),
    "portolan limits set --wan 500k --for 2h",
    "portolan limits set --upload unlimited",
  );
  examples(
    formats(limits.command("reset"))
      .description("go back to the limits of the configuration")
      .action(action(cli, (session) => print(session, (client) => client.call("resetLimits", {})))),
    "portolan limits reset",
  );
}

async function set(session: Session<SetOptions>): Promise<void> {
  const { parseRate, RATE_GRAMMAR } = await import("#api");
  const { options } = session;
  const change: { -readonly [N in keyof RateChange]: RateChange[N] } = {};
  for (const [flag, names] of Object.entries(FLAGS) as [keyof typeof FLAGS, readonly (keyof RateChange)[]][]) {
    const text = options[flag];
    if (text === undefined) continue;
    const rate = text === "unlimited" ? null : parseRate(text);
    if (rate === undefined) throw badRate(`--${flag} ${text} is not ${RATE_GRAMMAR}`);
    for (const name of names) change[name] = rate;
  }
  if (Object.keys(change).length === 0) throw badRate("say what to limit");
  const forSeconds = options.for === undefined ? undefined : parseSeconds(options.for);
  if (options.for !== undefined && (forSeconds === undefined || forSeconds === 0)) {
    throw new Fault("cli.time", `--for ${options.for} is not a time`, {
      exit: "invalid",
      fix: "Write 90s, 15m or 1h.",
    });
  }
  const input = { ...change, ...(forSeconds === undefined ? {} : { forSeconds }) };
  await print(session, (client) => client.call("setLimits", input));
}

function badRate(message: string): Fault {
  return new Fault("cli.rate", message, {
    exit: "invalid",
    fix: "Write it like: portolan limits set --wan 500k, or --wan unlimited",
  });
}

type Client = Awaited<ReturnType<Session["client"]>>;

async function print(session: Session, ask: (client: Client) => Promise<Limits>): Promise<void> {
  await session.withDaemon(async (client) => {
    const limits = await ask(client);
    const { output } = session.options;
    if (output === "json" || output === "yaml") return session.print(await serialise(limits, output));
    const { base, windows, set: byHand, timezone } = limits;
    const until =
      byHand?.until === undefined ? "limits reset" : formatWhen(byHand.until, timezone, session.io.clock.wallMs());
    session.print(
      describe({
        now: limitsText(limits, session.io.clock.wallMs()),
        ...(limits.next === undefined ? {} : { next: formatRates(limits.next) }),
        ...(byHand === undefined ? {} : { set: `${formatRates(byHand.change)}, until ${until}` }),
        configured: formatRates(base),
        windows: windows.map(({ when, change }) => ({ when, limits: formatRates(change) })),
        ...(windows.length === 0 ? {} : { timezone }),
      }),
    );
  });
}

/** The limits of the moment in a line: what, until when, and why. */
export function limitsText({ rates, source, when, until, timezone }: LimitsNow, nowMs: number): string {
  const why = source === "set" ? " (set by hand)" : source === "window" ? ` (window ${when})` : "";
  return `${formatRates(rates)}${until === undefined ? "" : `, until ${formatWhen(until, timezone, nowMs)}`}${why}`;
}
