import { rmSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { ControlClient } from "#api";
import { errorMessage, Fault } from "#core";
import { homeFor, look } from "../home.ts";
import { collectLabel } from "../labels.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { timeAhead } from "../units.ts";
import { examples, signs } from "./options.ts";

type PassOptions = CommonOptions & { out: string; expires: string; site?: string; label?: Record<string, string> };

/** `pass create`. */
export function registerPasses(program: Command, cli: Cli): void {
  const pass = program.command("pass").description("one-time secrets, each of which lets one device in");
  examples(
    signs(pass.command("create [name]"))
      .description("make a pass: a file for one device, which joins with it once")
      .requiredOption("--out <file>", "where to write it; hand it to the device and to nobody else")
      .option("--expires <time>", "good for this long (30m, 24h, 7d) or until an ISO 8601 time", "24h")
      .option("--site <site>", "put the device into this site")
      .option("--label <key=value>", "label it; repeat", collectLabel)
      .action(action<PassOptions>(cli, createOne)),
    "portolan pass create --out cam-7.pass --site berlin",
    "portolan up --token TOKEN --pass-file cam-7.pass   # on the device",
    "portolan get passes",
    "portolan delete pass NAME                          # nobody joins with it any more",
  );
}

/** The secret is written to the file and nowhere else: the fleet learns its public key only. */
async function createOne(session: Session<PassOptions>, [given]: string[]): Promise<void> {
  const { createPass, keyHash, passKey } = await import("#identity");
  const { state } = await import("../signing.ts");
  const { out, site, label, expires: until } = session.options;
  const expires = timeAhead("--expires", until, session.io.clock.wallMs());
  await session.signingKey(); // first, so that a wrong passphrase leaves no file behind
  const path = resolve(out);
  const name = await session.withNode(async (client) => {
    const { fleet } = await client.call("status", {});
    if (fleet === undefined) throw noFleet();
    await requireAccepted(client);
    const text = createPass(session.io.random);
    const { publicKey } = passKey(text, fleet);
    const passName = given ?? `pass-${keyHash(publicKey).slice(0, 8)}`;
    await requireFresh(client, passName);
    await writePass(path, text);
    try {
      const spec = {
        publicKey: Buffer.from(publicKey).toString("base64"),
        ...(site === undefined ? {} : { site }),
        ...(label === undefined ? {} : { labels: label }),
        ...(await homeFor(client, { kind: "Pass", name: passName })),
      };
      await state(session, client, { kind: "Pass", name: passName, spec, expires });
    } catch (error) {
      rmSync(path, { force: true }); // it would open nothing
      throw error;
    }
    return passName;
  });
  session.say(`wrote ${path}: until ${expires} the first device with it joins, and no other`);
  session.say(`on the device: portolan up --token TOKEN --pass-file FILE, or --pass-file - to read it from stdin`);
  session.print(name);
}

async function writePass(path: string, text: string): Promise<void> {
  const { createPrivateFile } = await import("#identity");
  try {
    createPrivateFile(path, Buffer.from(`${text}\n`));
  } catch (cause) {
    const exists = cause instanceof Error && "code" in cause && cause.code === "EEXIST";
    throw new Fault("cli.pass-file", exists ? `${path} is there already and is not replaced` : errorMessage(cause), {
      exit: exists ? "conflict" : "invalid",
      fix: "Choose another --out, in a folder that exists and that you may write to.",
      cause,
    });
  }
}

/** A charter of before there were passes does not name them. */
async function requireAccepted(client: ControlClient): Promise<void> {
  const { items } = await client.call("documents.list", { selector: "kind=Charter" });
  const name = items[0]?.name;
  const body = name === undefined ? undefined : (await client.call("documents.get", { name })).body;
  const { evidence } = (body?.["spec"] as { join: { evidence: string[] } } | undefined)?.join ?? { evidence: [] };
  if (evidence.includes("pass")) return;
  throw new Fault("cli.pass-not-accepted", "the charter of this fleet does not accept passes", {
    exit: "conflict",
    fix: 'The owners sign a charter with "pass" in spec.join.evidence: portolan get charters -o yaml.',
  });
}

/** A second key under a name would leave the first device with a file that opens nothing. */
async function requireFresh(client: ControlClient, name: string): Promise<void> {
  if ((await look(() => client.call("documents.get", { name: `Pass/${name}` }))) === undefined) return;
  throw new Fault("cli.pass-exists", `there is a pass ${name} already`, {
    exit: "conflict",
    fix: `Choose another name, or take it back: portolan delete pass ${name}`,
  });
}

function noFleet(): Fault {
  return new Fault("cli.no-fleet", "this node belongs to no fleet yet", {
    exit: "conflict",
    fix: "Create one with `portolan fleet create`, or join one with `portolan up --token TOKEN`.",
  });
}
