import { existsSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import type { ControlClient } from "#api";
import { Fault } from "#core";
import { collect } from "../labels.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { registerHandover } from "./handover.ts";
import { examples, signs } from "./options.ts";
import { registerOwners } from "./owners.ts";

type CreateOptions = CommonOptions & { out?: string };
type RoleOptions = CommonOptions & { role?: string[]; key?: string; tenant?: string };
type RegistrarOptions = CommonOptions & { maxMembers?: string };
type RemoveOptions = CommonOptions & { dropMembers?: boolean };

/** Most members of one registrar unless `--max-members` says otherwise: the size that the design aims at. */
const DEFAULT_MAX_MEMBERS = 10_000;

/** `owner create`, `operator create|add|remove`, `registrar add|remove|handover`. */
export function registerKeys(program: Command, cli: Cli): void {
  const owner = program
    .command("owner")
    .description("who owns the fleet; each makes the key on a machine of their own");
  createsKey(owner, "alice", cli);
  registerOwners(owner, cli);
  registerOperator(program, cli);
  registerRegistrar(program, cli);
}

function createsKey(group: Command, example: string, cli: Cli): void {
  examples(
    group
      .command("create <name>")
      .description("make a key pair, sealed under a passphrase; needs no daemon")
      .option("--out <dir>", "folder for NAME.key and NAME.pub", ".")
      .option("--passphrase-file <file>", "read the passphrase from the first line of this file")
      .action(action<CreateOptions>(cli, createKey)),
    `portolan ${group.name()} create ${example} --out ~/keys`,
  );
}

function registerOperator(program: Command, cli: Cli): void {
  const operator = program.command("operator").description("people who admit nodes, publish, or revoke");
  createsKey(operator, "bob", cli);
  const add = signs(operator.command("add <name>"))
    .description("let a key act as operator; owners sign it")
    .option("--key <file>", "the public key file (default: NAME.pub in this folder)")
    .option("--role <role>", "admission, publisher, network or security; repeat for several", collect)
    .option("--tenant <tenant>", "the tenant to act in (default: all)")
    .action(action<RoleOptions>(cli, addOperator));
  examples(add, "portolan operator add bob --key bob.pub --role admission --role publisher --as alice.key");
  const remove = signs(operator.command("remove <name>"))
    .description("take an operator's roles away; owners sign it")
    .action(action(cli, (session, [name]) => removeDocument(session, "Operator", name as string)));
  examples(remove, "portolan operator remove bob --as alice.key");
}

function registerRegistrar(program: Command, cli: Cli): void {
  const registrar = program.command("registrar").description("nodes that may admit other nodes");
  const add = signs(registrar.command("add <node>"))
    .description("let a member admit others; owners sign it")
    .option("--max-members <n>", "most members that it may admit", String(DEFAULT_MAX_MEMBERS))
    .action(action<RegistrarOptions>(cli, addRegistrar));
  examples(add, "portolan registrar add cam-7 --as alice.key");
  const remove = signs(registrar.command("remove <node>"))
    .description("let a node admit no more; owners sign it. Whom it admitted stays, and renews with another")
    .option("--drop-members", "whom it admitted loses the membership at once; for a registrar that was broken into")
    .action(action<RemoveOptions>(cli, (session, [name]) => removeRegistrar(session, name as string)));
  examples(remove, "portolan registrar remove cam-7 --as alice.key");
  registerHandover(registrar, cli);
  const replace = signs(registrar.command("replace <old> <new>"))
    .description("let a member admit others in place of a registrar; owners sign both changes")
    .option("--max-members <n>", "most members that it may admit", String(DEFAULT_MAX_MEMBERS))
    .action(
      action<RegistrarOptions>(cli, async (session, [old = "", next = ""]) => {
        await addRegistrar(session, [next]);
        await removeRegistrar(session, old);
      }),
    );
  examples(replace, "portolan registrar replace gate-1 gate-2 --as alice.key");
}

/** Takes a registrar's office away, and names what stays good of what it signed. */
async function removeRegistrar(session: Session<RemoveOptions>, node: string): Promise<void> {
  await session.withNode(async (client) => {
    const { name, keyHash } = await client.call("nodes.get", { name: node });
    const { items } = await client.call("documents.list", { selector: "kind=Member" });
    const members = items.filter(({ signers }) => signers.some(({ keyid }) => keyid === keyHash));
    const kept = session.options.dropMembers === true ? [] : members;
    await buryDocument(session, client, `Registrar/${name}`, {
      keepMembers: kept.map(({ digest }) => digest).toSorted(),
    });
    const names = members.map(({ documentName }) => documentName).join(", ") || "nobody";
    session.say(`${kept.length > 0 ? "stay members, and renew with another registrar" : "must join again"}: ${names}`);
    if (!items.some(({ documentName }) => documentName === name))
      session.say(
        `${name} was never admitted itself, and has left the fleet: portolan approve ${name} lets it in again`,
      );
  });
}

async function createKey(session: Session<CreateOptions>, [name = ""]: string[]): Promise<void> {
  const { createKeyFile } = await import("#identity");
  const folder = resolve(session.options.out ?? ".");
  const path = join(folder, `${name}.key`);
  if (dirname(path) !== folder) {
    throw new Fault("cli.name", `"${name.slice(0, 80)}" cannot name a key`, {
      exit: "invalid",
      fix: "Use at most 63 lower-case letters, digits, - and . only.",
    });
  }
  const publicPath = join(folder, `${name}.pub`);
  const passphrase = await newPassphrase(session);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  createKeyFile(session.io.random, { path, publicPath, name, passphrase });
  session.say(`wrote ${path} (keep it, and its passphrase) and ${publicPath} (hand it over)`);
  session.print(publicPath);
}

async function newPassphrase(session: Session): Promise<string> {
  const first = await session.passphrase("New passphrase: ");
  if (session.options.passphraseFile !== undefined) return first;
  if (first === (await session.passphrase("Again: "))) return first;
  throw new Fault("cli.passphrase", "the two passphrases differ; nothing was written", {
    exit: "invalid",
    fix: "Try again.",
  });
}

async function addOperator(session: Session<RoleOptions>, [name = ""]: string[]): Promise<void> {
  const { OPERATOR_ROLES, readPublicKeyFile } = await import("#identity");
  const { role: roles = [], tenant = "*", key = `${name}.pub` } = session.options;
  const unknown = roles.find((role) => !OPERATOR_ROLES.some((known) => known === role));
  if (roles.length === 0 || unknown !== undefined) {
    throw new Fault("cli.role", unknown === undefined ? "no role was given" : `there is no role "${unknown}"`, {
      exit: "invalid",
      fix: `Give one or more: ${OPERATOR_ROLES.map((role) => `--role ${role}`).join(", ")}`,
    });
  }
  if (session.options.key === undefined && !existsSync(key)) {
    throw new Fault("cli.no-public-key", `there is no ${key} here`, {
      exit: "missing",
      fix: "Give the operator's public key file: --key FILE.pub",
    });
  }
  const publicKey = Buffer.from(readPublicKeyFile(key).publicKey).toString("base64");
  const { state } = await import("../signing.ts");
  await session.withNode((client) =>
    state(session, client, { kind: "Operator", name, spec: { publicKey, roles, tenant } }),
  );
}

async function addRegistrar(session: Session<RegistrarOptions>, [node = ""]: string[]): Promise<void> {
  const maxMembers = Number(session.options.maxMembers);
  if (!Number.isSafeInteger(maxMembers) || maxMembers < 1) {
    throw new Fault("cli.number", `--max-members ${session.options.maxMembers} is not a number of members`, {
      exit: "invalid",
      fix: "Write --max-members 500.",
    });
  }
  const { state } = await import("../signing.ts");
  await session.withNode(async (client) => {
    const { name, labels } = await client.call("nodes.get", { name: node });
    const { body } = await client.call("documents.get", { name: `Member/${name}` });
    const { node: nodeId, publicKey, site, sealingKey } = body["spec"] as Record<string, string>;
    const spec = { node: nodeId, publicKey, site, sealingKey, maxMembers };
    await state(session, client, { kind: "Registrar", name, labels, spec });
  });
}

/** Says, signed, that a document is gone. */
export async function removeDocument(session: Session, kind: string, name: string): Promise<void> {
  await session.withNode((client) => buryDocument(session, client, `${kind}/${name}`, {}));
}

async function buryDocument(session: Session, client: ControlClient, id: string, more: object): Promise<void> {
  const { tombstoneName } = await import("#identity");
  const { state } = await import("../signing.ts");
  const { kind, documentName, version, tenant } = await client.call("documents.get", { name: id });
  const spec = { target: { kind, name: documentName }, version, ...more };
  await state(session, client, { kind: "Tombstone", name: tombstoneName(spec.target), tenant, spec });
}
