import type { Command } from "commander";
import { Fault } from "#core";
import type { Spec } from "#identity";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { examples, signs } from "./options.ts";

type OwnerOptions = CommonOptions & { key?: string; threshold?: string };
type Owners = Spec<"Charter">["owners"];

/** `owner add|remove|replace`: each drafts the next charter, which a threshold of its owners and of the last one's must sign. */
export function registerOwners(owner: Command, cli: Cli): void {
  const change = (
    usage: string,
    description: string,
    next: (session: Session<OwnerOptions>, owners: Owners, name: string) => Promise<Owners>,
  ): Command =>
    signs(owner.command(usage))
      .description(`${description}; a threshold of the owners before and after sign it`)
      .option("--threshold <n>", "from now on so many owners must sign (default: as many as now)")
      .action(
        action<OwnerOptions>(cli, (session, [name = ""]) =>
          changeOwners(session, (owners) => next(session, owners, name)),
        ),
      );
  examples(
    change("add <name>", "make somebody an owner", async (session, owners, name) => [
      ...owners,
      await ownerOf(session, name),
    ]).option("--key <file>", "the public key file (default: NAME.pub in this folder)"),
    "portolan owner add dora --key dora.pub --as alice.key",
  );
  examples(
    change("remove <name>", "let somebody be an owner no more", async (_, owners, name) => without(owners, name)),
    "portolan owner remove carol --as alice.key",
  );
  examples(
    change(
      "replace <name>",
      "give an owner another key, or the place to another person",
      async (session, owners, name) => [...without(owners, name), await ownerOf(session, undefined)],
    ).requiredOption("--key <file>", "the new public key file; it says the new name"),
    "portolan owner replace carol --key dora.pub --as alice.key",
  );
}

async function changeOwners(session: Session<OwnerOptions>, next: (owners: Owners) => Promise<Owners>): Promise<void> {
  const { state } = await import("../signing.ts");
  await session.withNode(async (client) => {
    const [charter] = (await client.call("documents.list", { selector: "kind=Charter" })).items;
    if (charter === undefined) {
      throw new Fault("cli.no-charter", "the fleet's charter is not signed yet", {
        exit: "conflict",
        fix: "portolan get pending",
      });
    }
    const { body } = await client.call("documents.get", { name: charter.name });
    const spec = body["spec"] as Spec<"Charter">;
    const owners = await next(spec.owners);
    const threshold = Number(session.options.threshold ?? spec.threshold);
    if (!Number.isSafeInteger(threshold) || threshold < 1 || threshold > owners.length) {
      throw new Fault("cli.threshold", `${threshold} of ${owners.length} owners cannot sign`, {
        exit: "invalid",
        fix: "Give --threshold, at most the number of owners that stay.",
      });
    }
    session.say(
      `owners from charter ${charter.version + 1} on: ${owners.map(({ name }) => name).join(", ")}; ${threshold} must sign`,
    );
    await state(session, client, { kind: "Charter", name: charter.documentName, spec: { ...spec, owners, threshold } });
  });
}

async function ownerOf(session: Session<OwnerOptions>, wanted: string | undefined): Promise<Owners[number]> {
  const { readPublicKeyFile } = await import("#identity");
  const { name, publicKey } = readPublicKeyFile(session.options.key ?? `${wanted}.pub`);
  return { name: wanted ?? name, publicKey: Buffer.from(publicKey).toString("base64") };
}

function without(owners: Owners, name: string): Owners {
  const left = owners.filter((owner) => owner.name !== name);
  if (left.length < owners.length) return left;
  throw new Fault("cli.no-owner", `there is no owner "${name.slice(0, 80)}"`, {
    exit: "missing",
    fix: `Owners: ${owners.map((owner) => owner.name).join(", ")}.`,
  });
}
