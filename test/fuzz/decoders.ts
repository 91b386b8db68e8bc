import type { Node } from "oxc-parser";
import { dottedName, readSources, type SourceFile, walk } from "../../scripts/source-tree.ts";

/** Exports with such names read what somebody else wrote. */
const READS =
  /^(?:decode|parse|read|open|load|verify)[A-Z]|^(?:is)(?:Cidr|NodeId|Peer|Tracker|Ed25519PublicKey)$|(?:Reader|Parser)$/u;
/** Calls that turn bytes or text into values; a file with one decodes. */
const CALLS =
  /(?:^|\.)(?:safeParse|decodeCbor|parseJson|parseDocument|parseAllDocuments|fromBytes)$|^(?!Date\.)\w+\.parse$/u;

/** Every place in src that decodes: `file#export` by name, and `file` for one that calls a decoder. */
export function findDecoders(root: string): string[] {
  return readSources(root)
    .filter(({ path }) => path.startsWith("src/"))
    .flatMap((source) => [...exportedReaders(source), ...(callsDecoder(source.program) ? [source.path] : [])])
    .toSorted();
}

function exportedReaders({ path, module }: SourceFile): string[] {
  const names = module.staticExports.flatMap(({ entries }) =>
    entries
      .filter(({ isType, moduleRequest }) => !isType && moduleRequest === null)
      .map(({ exportName }) => exportName.name),
  );
  return names.filter((name) => name !== null && READS.test(name)).map((name) => `${path}#${name}`);
}

function callsDecoder(program: Node): boolean {
  let found = false;
  walk(program, (node) => {
    if (node.type === "CallExpression" && CALLS.test(dottedName(node.callee) ?? "")) found = true;
  });
  return found;
}

/**
 * What decodes and is in no target, with the reason: what it reads was written by this program, or has been through a decoder that
 * is in one.
 */
export const NOT_FUZZED: Readonly<Record<string, string>> = {
  "src/api/openapi.ts#openApiDocument": "writes",
  "src/artifacts/store/regular-file.ts#openRegular": "opens a file, does not look into it",
  "src/mesh/eager-stream.ts#openEagerly": "opens a stream; what comes on it goes through Libp2pByteStream",
  "src/artifacts/store/salvage.ts#openTable": "opens a database",
  "src/artifacts/store/store.ts": "its own rows; what they hold goes through Bitset and ChunkMap",
  "src/artifacts/torrent/torrent-child.ts": "structured clones of a child process, checked by a schema",
  "src/cli/commands/sign.ts": "an envelope, which `documents` reads next",
  "src/cli/session.ts#readBytes": "reads a file, does not look into it",
  "src/cli/session.ts#readText": "reads a file, does not look into it",
  "src/daemon/copies.ts": "its own rows in state.db",
  "src/daemon/data-directory.ts#openDataDirectory": "opens a folder",
  "src/daemon/machine.ts": "its own row in state.db",
  "src/daemon/node.ts#openNode": "opens a folder",
  "src/daemon/quarantine.ts": "its own rows in state.db",
  "src/daemon/rate-keeper.ts": "its own row in state.db",
  "src/daemon/remembered.ts": "its own rows in state.db",
  "src/daemon/time-keeper.ts": "takes a beacon apart that `documents` has read",
  "src/daemon/time-keeper.ts#openTrustedTime": "opens the file that `state-files` reads",
  "src/daemon/version.ts": "package.json",
  "src/identity/member.ts": "makes a name",
  "src/identity/offices.ts#readOffices": "documents that the store has judged",
  "src/identity/pending-documents.ts": "its own rows in state.db; the envelopes go through `documents`",
  "src/identity/registrar-ledger.ts": "its own rows in state.db",
  "src/identity/words.ts": "the word list of a package",
  "src/main.ts": "package.json",
  "src/routing/service/published-services.ts": "its own rows in state.db; what they hold goes through parseService",
  "src/view/open-in-browser.ts#openInBrowser": "writes a file",
  "src/view/page/main.ts": "in a browser, frames that this program has written",
  "src/view/page/marks.ts#readPalette": "colours of its own style sheet",
};
