import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { ControlClient, PendingView } from "#api";
import { errorMessage, Fault } from "#core";
import { readContexts, withContext, writeContexts } from "../contexts.ts";
import { collect } from "../labels.ts";
import { serialise } from "../output.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { examples, formats, signs } from "./options.ts";

type CreateOptions = CommonOptions & { owner?: string[]; threshold?: string; site?: string; demo?: boolean };

/** Name of the one key of a demo fleet. */
const DEMO_KEY_NAME = "demo";

/** `fleet create`, `fleet reset-time`, `token`. */
export function registerFleet(program: Command, cli: Cli): void {
  const fleet = program.command("fleet").description("a fleet: the nodes that trust one charter");
  examples(
    fleet
      .command("create <name>")
      .description("draft a fleet's charter; its owners sign it, this node becomes the first registrar")
      .option("--owner <file>", "an owner's public key file; repeat for each", collect)
      .option("--threshold <n>", "how many owners must sign (default: more than half)")
      .option("--site <site>", "name of the place where this node stands")
      .option("--demo", "for a try-out: make one key that may do everything, and sign with it at once")
      .action(action<CreateOptions>(cli, createFleet)),
    "portolan fleet create plant --owner a.pub --owner b.pub --owner c.pub --threshold 2",
    "portolan fleet create try --demo",
  );
  examples(
    signs(fleet.command("reset-time"))
      .description("take the fleet's time back to this machine's clock, after it ran ahead by mistake; owners sign it")
      .action(action(cli, resetTime)),
    "portolan fleet reset-time --as alice.key",
  );
  examples(
    formats(program.command("token"))
      .description("print the token that new nodes start with; it holds no secret")
      .option("--qr", "also draw it as a QR code")
      .action(action<CommonOptions & { qr?: boolean }>(cli, showToken)),
    "portolan token",
    "portolan token --qr",
  );
}

async function createFleet(session: Session<CreateOptions>, [name = ""]: string[]): Promise<void> {
  const { owner: files = [], demo = false, site } = session.options;
  if (demo === files.length > 0) {
    throw new Fault("cli.owners", demo ? "--demo makes its own owner: leave --owner out" : "a fleet needs owners", {
      exit: "invalid",
      fix: "Give each owner's public key (--owner a.pub --owner b.pub), or try it out with --demo.",
    });
  }
  const { readPublicKeyFile } = await import("#identity");
  const owners = files.map((file) => {
    const { name: ownerName, publicKey } = readPublicKeyFile(file);
    return { name: ownerName, publicKey: Buffer.from(publicKey).toString("base64") };
  });
  const majority = Math.floor(owners.length / 2) + 1;
  const threshold = Number(session.options.threshold ?? majority);
  if (!Number.isSafeInteger(threshold) || threshold < 1 || threshold > Math.max(1, owners.length)) {
    throw new Fault(
      "cli.threshold",
      `--threshold ${session.options.threshold} is not between 1 and the number of owners`,
      {
        exit: "invalid",
        fix: `There are ${owners.length} owners.`,
      },
    );
  }
  const input = { name, threshold, demo, ...(site === undefined ? {} : { site }) };
  await session.withNode(async (client) => {
    const keyPath = demo
      ? await createDemo(session, client, input)
      : await createOwned(session, client, { ...input, owners });
    await remember(session, name, keyPath);
  });
}

type FleetInput = { name: string; threshold: number; demo: boolean; site?: string };

async function createOwned(
  session: Session,
  client: ControlClient,
  input: FleetInput & { owners: { name: string; publicKey: string }[] },
): Promise<undefined> {
  const { fleet, pending } = await client.call("createFleet", input);
  session.print(fleet);
  session.say(`fleet ${input.name} is drafted; ${input.threshold} of ${input.owners.length} owners must sign:`);
  for (const { name, digest } of pending) session.say(`  ${name}  ${digest.slice(0, 16)}`);
  session.say("each owner here:       portolan sign --all --as OWNER.key");
  session.say(
    "or on another machine: portolan get pending NAME -o json > f.json; there: portolan sign -f f.json --as OWNER.key > s.json; here: portolan apply -f s.json",
  );
}

/** One key is owner and operator of a demo fleet; it lies open beside the node's own. */
async function createDemo(session: Session, client: ControlClient, input: FleetInput): Promise<string> {
  const { createKeyFile, openKeyFile, OPERATOR_ROLES } = await import("#identity");
  const { signPending, state } = await import("../signing.ts");
  const folder = join(session.data, "demo-keys");
  const path = join(folder, `${DEMO_KEY_NAME}.key`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const names = { path, publicPath: join(folder, `${DEMO_KEY_NAME}.pub`), name: DEMO_KEY_NAME };
  const key = existsSync(path) // of an attempt that did not get further, or of a fleet that the node has left
    ? await openKeyFile(path, async () => "")
    : createKeyFile(session.io.random, { ...names, passphrase: undefined });
  const publicKey = Buffer.from(key.key.publicKey).toString("base64");
  const owners = [{ name: DEMO_KEY_NAME, publicKey }];
  const { fleet, pending } = await client.call("createFleet", { ...input, owners });
  for (const document of charterFirst(pending)) await signPending(session, client, document, key);
  session.options.as = path;
  const spec = { publicKey, roles: [...OPERATOR_ROLES], tenant: "*" };
  await state(session, client, { kind: "Operator", name: DEMO_KEY_NAME, spec });
  session.print(fleet);
  session.say(`warning: ${path} may do everything in this fleet and has no passphrase. For a try-out only.`);
  session.say("next: portolan up, and in another terminal: portolan token");
  return path;
}

/** Nothing else can count before the charter does. */
export function charterFirst(pending: readonly PendingView[]): PendingView[] {
  return pending.toSorted((a, b) => Number(b.kind === "Charter") - Number(a.kind === "Charter"));
}

/** Saves a context for the data directory; that it cannot be saved is a warning, not a failure. */
export async function remember(session: Session, name: string | undefined, key?: string): Promise<void> {
  const { io, data } = session;
  try {
    const before = readContexts(io.env);
    const after = withContext(before, { data, name, ...(key === undefined ? {} : { key }) }, existsSync);
    if (after !== before) await writeContexts(io.env, after);
  } catch (error) {
    session.say(`warning: no context was saved: ${errorMessage(error)}`);
  }
}

/** A smaller error heals by itself, or is not worth the owners' time: registrars may step a day. */
const MIN_RESET_MS = 24 * 3_600_000;

async function resetTime(session: Session): Promise<void> {
  const { state } = await import("../signing.ts");
  const nowMs = session.io.clock.wallMs();
  await session.withNode(async (client) => {
    const { time } = await client.call("status", {});
    if (Date.parse(time.now) - nowMs < MIN_RESET_MS) {
      throw new Fault("cli.time", `the fleet's time, ${time.now}, is less than a day ahead of this machine's clock`, {
        exit: "conflict",
        fix: "Ask a node whose time did run ahead, from a machine whose clock is right.",
      });
    }
    const spec = { time: new Date(nowMs).toISOString(), ahead: time.now };
    session.say(
      `the fleet takes it for ${spec.ahead}; it shall be ${spec.time}. Set the clocks of the registrars first.`,
    );
    await state(session, client, { kind: "TimeReset", name: "fleet", spec });
  });
}

async function showToken(session: Session<CommonOptions & { qr?: boolean }>): Promise<void> {
  const { output, qr } = session.options;
  const token = await session.withNode((client) => client.call("token", {}));
  for (const warning of token.warnings) session.say(`warning: ${warning}`);
  if (output === "json" || output === "yaml") return session.print(await serialise(token, output));
  session.print(token.token);
  for (const { document, left, until } of token.opens) session.say(`${document} lets in ${left} more, until ${until}`);
  if (qr !== true) return;
  const { default: qrcode } = await import("qrcode");
  session.print(await qrcode.toString(token.token, { type: "utf8", errorCorrectionLevel: "L" }));
}
