import { basename } from "node:path";
import type { Command } from "commander";
import type { ControlClient, NodeView } from "#api";
import { Fault, faultCode } from "#core";
import { homeFor } from "../home.ts";
import { collect, collectLabel } from "../labels.ts";
import { askYesNo } from "../prompt.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { printable } from "../table.ts";
import { timeAhead } from "../units.ts";
import { examples, signs } from "./options.ts";

type ApproveOptions = CommonOptions & { allPending?: boolean; yes?: boolean; site?: string };
type AdmitOptions = CommonOptions & { file: string; name?: string; expires?: string };
type BatchOptions = CommonOptions & {
  max: string;
  until: string;
  cidr?: string[];
  rate?: string;
  site?: string;
  label?: Record<string, string>;
};

/** `approve`, `admit`, `batch open|close`, `revoke`. */
export function registerAdmit(program: Command, cli: Cli): void {
  examples(
    signs(program.command("approve [node]"))
      .description("let a node in that asks to join; compare its six words with those on the device")
      .option("--all-pending", "every node that asks just now")
      .option("--site <site>", "put it into this site")
      .option("--yes", "the words were compared: do not ask")
      .action(action<ApproveOptions>(cli, approve)),
    "portolan approve cam-7",
    "portolan approve --all-pending",
  );
  examples(
    signs(program.command("admit"))
      .description("let in the devices of a list: serial,model,key,tenant,labels,expires; up to 100,000")
      .requiredOption("-f, --file <csv>", "the list; key is the hash that `portolan id` prints, or empty")
      .option("--name <name>", "name of the claim list (default: the file's name)")
      .action(action<AdmitOptions>(cli, admit)),
    "portolan admit -f claims.csv",
  );
  registerBatch(program, cli);
  examples(
    signs(program.command("revoke <node>"))
      .description("shut a node out for good; its connections close at once")
      .action(action(cli, (session, [name]) => revokeNode(session, name as string))),
    "portolan revoke cam-7",
  );
}

function registerBatch(program: Command, cli: Cli): void {
  const batch = program.command("batch").description("let a number of unknown devices in for a while");
  examples(
    signs(batch.command("open [name]"))
      .description("from now on let unknown devices in")
      .requiredOption("--max <n>", "at most this many")
      .requiredOption("--until <time>", "for this long (30m, 24h, 7d) or until an ISO 8601 time")
      .option("--cidr <range>", "only from these addresses; repeat", collect)
      .option("--rate <n/min>", "at most this fast, e.g. 5/min")
      .option("--site <site>", "put them into this site")
      .option("--label <key=value>", "label them; repeat", collectLabel)
      .action(action<BatchOptions>(cli, openBatch)),
    "portolan batch open --max 20 --until 24h --cidr 10.1.0.0/16 --rate 5/min",
  );
  examples(
    signs(batch.command("close [name]"))
      .description("let nobody in any more by this batch")
      .action(action(cli, closeBatch)),
    "portolan batch close",
  );
}

/** Name of a batch that got none. */
const DEFAULT_BATCH = "batch";

async function approve(session: Session<ApproveOptions>, [name]: string[]): Promise<void> {
  const { allPending = false, yes = false, site } = session.options;
  if (allPending === (name !== undefined)) {
    throw new Fault("cli.approve", "name one node, or give --all-pending", {
      exit: "invalid",
      fix: "See who asks: portolan get nodes -l state=pending",
    });
  }
  await session.withDaemon(async (client) => {
    const asking =
      name === undefined
        ? (await client.call("nodes.list", { selector: "state=pending" })).items
        : [await client.call("nodes.get", { name })];
    const approved: NodeView[] = [];
    for (const node of asking) if (await compare(session, client, node, yes)) approved.push(node);
    if (approved.length === 0) return session.say("nobody was approved");
    const rows = approved.map((node) => ({
      serial: node.serial ?? node.name,
      key: node.keyHash,
      ...(site === undefined ? {} : { site }),
    }));
    const { state } = await import("../signing.ts");
    const listName = `approve-${approved[0]?.keyHash.slice(0, 16)}`;
    await state(session, client, { kind: "ClaimList", name: listName, spec: { rows } });
  });
}

/** Shows what a person needs to recognise the device. The words are computed here, from its key: the daemon's are not trusted. */
async function compare(session: Session, client: ControlClient, node: NodeView, yes: boolean): Promise<boolean> {
  const { keyHash, publicKeyOf, sixWords } = await import("#identity");
  const { fleet } = await client.call("status", {});
  const publicKey = publicKeyOf(node.nodeId);
  if (keyHash(publicKey) !== node.keyHash || fleet === undefined) {
    throw new Fault("cli.draft", `the daemon names two keys for ${node.name}`, {
      exit: "denied",
      fix: "Is the daemon yours? Check with: portolan status",
    });
  }
  const facts = [`serial ${node.serial ?? "none"}`, node.model, node.address, `key ${node.keyHash.slice(0, 16)}`];
  session.say(`${printable(node.name)}: ${printable(facts.filter((fact) => fact !== undefined).join(", "))}`);
  session.say(`  ${sixWords(fleet, publicKey).join(" ")}`);
  return yes || (await askYesNo(session.io, "Does the device show these words (portolan id)? Let it in?"));
}

async function admit(session: Session<AdmitOptions>): Promise<void> {
  const { admitFile } = await import("../claims.ts");
  const { file } = session.options;
  const name =
    session.options.name ??
    basename(file)
      .replace(/\.csv$/iu, "")
      .toLowerCase();
  await admitFile(session, file, name);
}

async function openBatch(session: Session<BatchOptions>, [name = DEFAULT_BATCH]: string[]): Promise<void> {
  const { max, until, cidr = [], rate, site, label } = session.options;
  const ratePerMinute = rate === undefined ? undefined : Number(/^(\d+(?:\.\d+)?)\/min$/u.exec(rate)?.[1]);
  if (ratePerMinute !== undefined && !(ratePerMinute > 0)) {
    throw new Fault("cli.rate", `"${rate}" is not a rate`, { exit: "invalid", fix: "Write --rate 5/min." });
  }
  const spec = {
    max: wholeNumber("--max", max),
    cidrs: cidr,
    ...(ratePerMinute === undefined ? {} : { ratePerMinute }),
    ...(site === undefined ? {} : { site }),
    ...(label === undefined ? {} : { labels: label }),
  };
  const expires = timeAhead("--until", until, session.io.clock.wallMs());
  const { state } = await import("../signing.ts");
  await session.withNode(async (client) => {
    const home = await homeFor(client, { kind: "Batch", name });
    await state(session, client, { kind: "Batch", name, spec: { ...spec, ...home }, expires });
  });
  session.say(
    `until ${expires} the token lets in up to ${spec.max} devices that nobody has named: portolan batch close`,
  );
}

async function closeBatch(session: Session, [name = DEFAULT_BATCH]: string[]): Promise<void> {
  const { state } = await import("../signing.ts");
  await session.withNode(async (client) => {
    const { body } = await client.call("documents.get", { name: `Batch/${name}` });
    const spec = { ...(body["spec"] as Record<string, unknown>), max: 0 };
    await state(session, client, { kind: "Batch", name, spec });
  });
}

/** Draws up the next revocation list: what it held, and every generation of this node so far. */
export async function revokeNode(session: Session, name: string): Promise<void> {
  const { state } = await import("../signing.ts");
  await session.withNode(async (client) => {
    const node = await client.call("nodes.get", { name });
    const before = await currentRevocation(client);
    const others = before.nodes.filter((entry) => entry.node !== node.nodeId);
    const nodes = [...others, { node: node.nodeId, generation: node.generation ?? 0 }];
    const registrars = node.roles.includes("registrar")
      ? [...before.registrars.filter(({ key }) => key !== node.keyHash), await revokedRegistrar(client, node.keyHash)]
      : before.registrars;
    await state(session, client, { kind: "Revocation", name: "fleet", spec: { nodes, registrars } });
    session.say(`${node.name} is revoked: nodes that hear of it close its connections and refuse it`);
  });
}

type RevocationSpec = {
  nodes: { node: string; generation: number }[];
  registrars: { key: string; keepMembers: string[] }[];
};

/** A registrar's key admits nobody any more; those whom it is known to have admitted so far may stay. */
async function revokedRegistrar(client: ControlClient, key: string): Promise<RevocationSpec["registrars"][number]> {
  const { items } = await client.call("documents.list", { selector: "kind=Member" });
  const members = items.filter(({ signers }) => signers.some(({ keyid }) => keyid === key));
  return { key, keepMembers: members.map(({ digest }) => digest).toSorted() };
}

async function currentRevocation(client: ControlClient): Promise<RevocationSpec> {
  try {
    const { body } = await client.call("documents.get", { name: "Revocation/fleet" });
    return body["spec"] as RevocationSpec;
  } catch (error) {
    if (faultCode(error) === "api.no-such") return { nodes: [], registrars: [] };
    throw error;
  }
}

function wholeNumber(option: string, text: string): number {
  if (/^\d{1,9}$/u.test(text)) return Number(text);
  throw new Fault("cli.number", `${option} ${text} is not a whole number`, {
    exit: "invalid",
    fix: `Write ${option} 20.`,
  });
}
