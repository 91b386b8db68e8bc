import { lstatSync, type Stats } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { ArtifactDetail, ControlClient, Published } from "#api";
import { Fault } from "#core";
import { collect, collectLabel, placementName } from "../labels.ts";
import { serialise } from "../output.ts";
import { type UpdateProgress, withProgress } from "../progress.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { waitForCopies } from "../staging.ts";
import { formatBytes, formatCount, formatSeconds, parseSeconds } from "../units.ts";
import { examples, signs } from "./options.ts";

type Json = { json?: boolean };
type PublishOptions = CommonOptions &
  Json & {
    name: string;
    fromTorrent?: string;
    peer?: string[];
    inPlace?: boolean;
    label?: Record<string, string>;
    type?: string;
  };
type StageOptions = CommonOptions & Json & { selector?: string; all?: boolean; wait?: boolean; timeout: string };
type FetchOptions = Omit<CommonOptions, "output"> &
  Json & { output?: string; force?: boolean; link?: boolean; background?: boolean };

/** `publish`, `stage`, `fetch`. */
export function registerArtifacts(program: Command, cli: Cli): void {
  examples(
    signs(program.command("publish [path]"))
      .description("put a file, a folder or a torrent's content into the fleet under a name")
      .requiredOption("--name <name>", "NAME or NAME:VERSION")
      .option("--in-place", "serve it from where it is instead of copying it; it must not be changed")
      .option("--from-torrent <source>", "instead of a path: a .torrent file or a magnet link, fetched with BitTorrent")
      .option("--peer <host:port>", "with --from-torrent: a BitTorrent client that has it; repeat for several", collect)
      .option("--label <key=value>", "a label; repeat for several", collectLabel)
      .option("--type <media-type>", "what it is (default: application/octet-stream, or a folder)")
      .option("--json", "print the result as JSON")
      .action(action<PublishOptions>(cli, publish)),
    "portolan publish ./model.bin --name model:1.4",
    "portolan publish --from-torrent ./model.torrent --peer 192.0.2.7:6881 --name model:1.4",
  );
  examples(
    signs(program.command("stage <artifact>"))
      .description("bring an artifact into the stores of nodes")
      .option("-l, --selector <terms>", "to the nodes that match all of these, e.g. site=berlin,gpu=yes")
      .option("--all", "to every node")
      .option("--wait", "until all of them have it; exit code 6 if not in time")
      .option("--timeout <time>", "how long to wait", "1h")
      .option("--json", "with --wait: print every node's copy as JSON")
      .action(action<StageOptions>(cli, stage)),
    "portolan stage model:1.4 -l site=berlin --wait",
  );
  examples(
    program
      .command("fetch <artifact>")
      .description("bring an artifact to this node, and write it out with -o")
      .option("-o, --output <path>", "write it here")
      .option("--force", "replace what is there")
      .option("--link", "share large files with the store instead of copying them; they are read-only then")
      .option("--background", "give way to what others wait for")
      .option("--json", "print the result as JSON")
      .action(action<FetchOptions & CommonOptions>(cli, fetchArtifact)),
    "portolan fetch model:1.4 -o ./model.bin",
    "portolan fetch --background dataset:7",
  );
}

/** Where the content comes from: a path of this machine, or BitTorrent. */
type Source = {
  what: string;
  /** Of a single file, known before. */
  sizeBytes?: number;
  bring: (client: ControlClient, update: UpdateProgress) => Promise<Published>;
};

async function publish(session: Session<PublishOptions>, [given]: string[]): Promise<void> {
  const { name, label = {}, json } = session.options;
  const source = given === undefined ? torrentSource(session.options) : pathSource(given, session.options);
  const { checkDraft, signDraft } = await import("../signing.ts");
  const key = await session.signingKey(); // before an hour of hashing
  await session.withNode(async (client) => {
    const published = await withProgress(session.io, name, (update) => source.bring(client, update));
    const asked = { kind: "Artifact", name, labels: label };
    const { spec } = checkDraft(published.draft.payloadType, Buffer.from(published.draft.payload, "base64"), asked);
    if (!("sizeBytes" in spec) || (source.sizeBytes !== undefined && spec.sizeBytes !== source.sizeBytes)) {
      throw new Fault("cli.draft", `the draft is not about ${source.what}; nothing was signed`, {
        exit: "conflict",
        fix: "Was the file changed meanwhile? Publish it again.",
      });
    }
    const verdict = await signDraft(session, client, published.draft, asked, key);
    const { root, sizeBytes, files } = published;
    if (json === true) session.print(await serialise({ name, root, sizeBytes, files, status: verdict.status }, "json"));
    else session.print(`${name}  ${formatBytes(sizeBytes)}  ${root}`);
  });
}

function pathSource(given: string, options: PublishOptions): Source {
  if (options.fromTorrent !== undefined || options.peer !== undefined) throw badSource();
  const path = resolve(given);
  const stat = checkSource(path);
  const input = { ...commonInput(options), path, inPlace: options.inPlace ?? false };
  return {
    what: stat.isFile() ? `the ${stat.size} bytes of ${path}` : path,
    ...(stat.isFile() ? { sizeBytes: stat.size } : {}),
    bring: (client, update) =>
      client.job("publish", input, ({ bytes, sizeBytes, phase }) => update(bytes, sizeBytes, phase)),
  };
}

function torrentSource(options: PublishOptions): Source {
  const { fromTorrent: given, peer: peers = [] } = options;
  if (given === undefined || options.inPlace === true) throw badSource();
  const source = given.startsWith("magnet:") ? given : resolve(given);
  return {
    what: `the torrent ${given}`,
    bring: (client, update) =>
      client.job("publishTorrent", { ...commonInput(options), source, peers }, (progress) =>
        update(progress.bytes, progress.sizeBytes, `${progress.phase}, ${formatCount(progress.peers, "peer")}`),
      ),
  };
}

function commonInput({ name, label = {}, type }: PublishOptions) {
  return { name, labels: label, ...(type === undefined ? {} : { mediaType: type }) };
}

function badSource(): Fault {
  return new Fault("cli.source", "say what to publish: a path, or --from-torrent with what belongs to it", {
    exit: "invalid",
    fix: "Like: portolan publish ./model.bin --name model:1.4",
  });
}

/** Early, so that the answer to a typing error does not come from a daemon with another working directory. */
function checkSource(path: string): Stats {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new Fault("cli.no-path", `there is no ${path}`, { exit: "missing" });
  if (stat.isFile() || stat.isDirectory()) return stat;
  const what = stat.isSymbolicLink() ? "a symbolic link" : stat.isSocket() ? "a socket" : "a device or a pipe";
  throw new Fault("cli.path", `${path} is ${what}`, { exit: "invalid", fix: "Publish a file or a folder." });
}

async function stage(session: Session<StageOptions>, [artifact = ""]: string[]): Promise<void> {
  const { selector: text, all = false, wait = false } = session.options;
  if (all === (text !== undefined)) {
    throw new Fault("cli.stage", "say which nodes: a selector, or --all", {
      exit: "invalid",
      fix: `Like: portolan stage ${artifact} -l site=berlin`,
    });
  }
  const timeout = parseSeconds(session.options.timeout);
  if (timeout === undefined) {
    throw new Fault("cli.time", `--timeout ${session.options.timeout} is not a time`, {
      exit: "invalid",
      fix: "Write 90s, 15m or 1h.",
    });
  }
  const selector = (text ?? "").trim();
  const [{ state }, { parseSelector }] = await Promise.all([import("../signing.ts"), import("#api")]);
  parseSelector(selector);
  const work = async (client: ControlClient): Promise<void> => {
    const { name } = await client.call("artifacts.get", { name: artifact });
    const placement = placementName(name, selector);
    await state(session, client, { kind: "Placement", name: placement, spec: { artifact: name, selector } });
    if (wait) await printCopies(session, await waitForCopies(session, client, name, timeout * 1_000));
  };
  await (wait ? session.withDaemon(work) : session.withNode(work));
}

async function printCopies(session: Session<StageOptions>, detail: ArtifactDetail): Promise<void> {
  const copies = detail.nodes.filter((copy) => copy.wanted);
  if (session.options.json === true) return session.print(await serialise({ name: detail.name, copies }, "json"));
  session.print(`${detail.name} is on ${copies.length} node${copies.length === 1 ? "" : "s"}`);
}

async function fetchArtifact(session: Session<FetchOptions & CommonOptions>, [name = ""]: string[]): Promise<void> {
  const { output, force = false, link = false, background = false, json } = session.options as FetchOptions;
  await session.withDaemon(async (client) => {
    const input = { name, force, link, background, ...(output === undefined ? {} : { output: resolve(output) }) };
    const result = await withProgress(session.io, name, (update) =>
      client.job("fetch", input, ({ bytes, sizeBytes, sources, state }) =>
        update(bytes, sizeBytes, `${state}, ${formatCount(sources, "source")}`),
      ),
    );
    if (json === true) return session.print(await serialise(result, "json"));
    const from = `${formatBytes(result.bytesFromSite)} from this site, ${formatBytes(result.bytesFromWan)} from others`;
    session.print(`${result.name}  ${formatBytes(result.bytes)}  ${formatSeconds(result.seconds)}  ${from}`);
    if (result.output !== undefined) session.print(result.output);
  });
}
