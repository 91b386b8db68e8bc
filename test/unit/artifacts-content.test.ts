import assert from "node:assert/strict";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { faultCode, SeededRandom, SILENT_LOG, SystemClock } from "#core";
import {
  type ArtifactContent,
  bringContent,
  hasContent,
  materialise,
  publishPath,
  Store,
  startSwarm,
  MemoryNet,
} from "#artifacts";
import { encodeListing, isInnerLink, isInnerPath, parseListing } from "../../src/artifacts/listing.ts";
import { decodeListing } from "../../src/artifacts/listing-reader.ts";

const clock = new SystemClock();
const signal = new AbortController().signal;
const A = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const B = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => faultCode(error) ?? String(error),
  );
}

/** Everything below a folder: content, mode and link targets. */
async function snapshot(root: string): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for (const found of await readdir(root, { recursive: true, withFileTypes: true })) {
    const full = join(found.parentPath, found.name);
    const path = full.slice(root.length + 1);
    if (found.isSymbolicLink()) all[path] = `-> ${await readlink(full)}`;
    else if (found.isDirectory()) all[`${path}/`] = "";
    else all[path] = `${((await stat(full)).mode & 0o777).toString(8)} ${(await readFile(full)).toString("base64")}`;
  }
  return all;
}

describe("artifacts: publish, bring, materialise", () => {
  let dir: string;
  let store: Store;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "portolan-content-"));
    store = await Store.open(join(dir, "store"), { clock, log: SILENT_LOG });
  });

  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  async function tree(): Promise<string> {
    const root = join(dir, "tree");
    await mkdir(join(root, "a/deep/er"), { recursive: true });
    await mkdir(join(root, "void/inner"), { recursive: true });
    await writeFile(join(root, "a/deep/er/small"), "small");
    await writeFile(join(root, "a/script"), "#!/bin/sh\n");
    await chmod(join(root, "a/script"), 0o755);
    await writeFile(join(root, "none"), "");
    await writeFile(join(root, "large"), Buffer.alloc(3 * 1024 * 1024, "large "));
    await symlink("../large", join(root, "a/to-large"));
    return root;
  }

  it("gives a file back as it was", async () => {
    const path = join(dir, "file");
    await writeFile(path, Buffer.alloc(700_001, "abc"));
    const spec = await publishPath(store, path, { inPlace: false, signal });
    assert.equal(spec.directory, false);
    assert.equal(spec.sizeBytes, 700_001);
    assert.ok(await hasContent(store, spec));
    await materialise(store, spec, join(dir, "out"), { force: false, signal });
    assert.equal(Buffer.compare(await readFile(join(dir, "out")), await readFile(path)), 0);
  });

  it("gives a directory back as it was: modes, links, empty files and directories", async () => {
    const root = await tree();
    const spec = await publishPath(store, root, { inPlace: false, signal });
    assert.equal(spec.files, 4);
    await materialise(store, spec, join(dir, "out"), { force: false, signal });
    assert.deepEqual(await snapshot(join(dir, "out")), await snapshot(root));
  });

  it("brings a directory to another node and writes it out there", async () => {
    const root = await tree();
    const net = new MemoryNet();
    await using other = await Store.open(join(dir, "other"), { clock, log: SILENT_LOG });
    const deps = { clock, log: SILENT_LOG, random: new SeededRandom(1) };
    const near = net.ports(A);
    await using serving = await startSwarm({ ...deps, store, ...near });
    await using swarm = await startSwarm({ ...deps, store: other, ...net.ports(B) });
    const spec = await publishPath(store, root, { inPlace: true, signal });
    assert.deepEqual(serving.views(), []);
    for (const { ref } of store.list()) near.holders.announce(ref.root);
    assert.equal(await hasContent(other, spec), false);
    const progress = await bringContent(swarm, other, spec, { signal });
    assert.equal(progress.bytes, spec.sizeBytes);
    assert.ok(await hasContent(other, spec));
    await materialise(other, spec, join(dir, "out"), { force: false, signal });
    assert.deepEqual(await snapshot(join(dir, "out")), await snapshot(root));
  });

  it("shares large files with the store when asked to, and drops its own when such a file is changed", async () => {
    const root = await tree();
    const spec = await publishPath(store, root, { inPlace: false, signal });
    const out = join(dir, "out");
    await materialise(store, spec, out, { force: false, link: true, signal });
    const large = join(out, "large");
    const before = await stat(large);
    if (before.nlink === 1) return; // the file system shares blocks: the two are apart
    assert.equal(before.mode & 0o777, 0o444);
    assert.equal((await readFile(large)).compare(await readFile(join(root, "large"))), 0);
    await chmod(large, 0o644);
    await writeFile(large, "mine");
    const again = await codeOf(materialise(store, spec, join(dir, "again"), { force: false, signal }));
    assert.equal(again, "artifacts.damaged");
    assert.equal(await hasContent(store, spec), false);
    assert.equal(await readFile(large, "utf8"), "mine", "nobody mends what is not the store's any more");
  });

  it("stores thousands of small files as two blobs", async () => {
    const root = join(dir, "many");
    await mkdir(root);
    for (let i = 0; i < 3_000; i++) await writeFile(join(root, `f${i}`), `content ${i}`);
    const spec = await publishPath(store, root, { inPlace: false, signal });
    assert.equal(spec.files, 3_000);
    assert.equal(store.list().length, 2, "the pack and the listing");
    assert.ok(JSON.stringify(spec).length < 1_000, "the listing is not in the document");
    await materialise(store, spec, join(dir, "out"), { force: false, signal });
    assert.equal(await readFile(join(dir, "out", "f2999"), "utf8"), "content 2999");
  });

  it("refuses what it cannot publish, and says what", async () => {
    const socket = join(dir, "socket");
    const server = createServer().listen(socket);
    await new Promise((resolve) => server.once("listening", resolve));
    const publish = (path: string) => codeOf(publishPath(store, path, { inPlace: false, signal }));
    assert.equal(await publish(join(dir, "nothing")), "artifacts.not-found");
    assert.equal(await publish(socket), "artifacts.not-a-file");
    assert.equal(await publish("/dev/null"), "artifacts.not-a-file");
    const root = join(dir, "tree");
    await mkdir(root);
    await symlink("/etc/passwd", join(root, "leak"));
    assert.equal(await publish(root), "artifacts.link-outside");
    server.close();
  });

  it("does not replace what is there, unless told to", async () => {
    const path = join(dir, "file");
    await writeFile(path, "new");
    const spec = await publishPath(store, path, { inPlace: false, signal });
    const output = join(dir, "out");
    await writeFile(output, "old");
    assert.equal(await codeOf(materialise(store, spec, output, { force: false, signal })), "artifacts.exists");
    assert.equal(await readFile(output, "utf8"), "old");
    await materialise(store, spec, output, { force: true, signal });
    assert.equal(await readFile(output, "utf8"), "new");
    const lost = join(dir, "no", "folder");
    assert.equal(await codeOf(materialise(store, spec, lost, { force: false, signal })), "artifacts.no-folder");
  });

  it("never gives out a file that was changed after it was published in place", async () => {
    const path = join(dir, "file");
    await writeFile(path, Buffer.alloc(2 * 1024 * 1024, 1));
    const spec = await publishPath(store, path, { inPlace: true, signal });
    await materialise(store, spec, join(dir, "out"), { force: false, signal });
    await writeFile(path, Buffer.alloc(2 * 1024 * 1024, 2));
    await utimes(path, 1, 1); // as an editor that hides its traces would
    const again = materialise(store, spec, join(dir, "out2"), { force: false, signal });
    assert.equal(await codeOf(again), "artifacts.source-changed");
  });

  it("knows a file in place that was only touched, and a directory after a restart", async () => {
    const path = join(dir, "file");
    await writeFile(path, Buffer.alloc(600_000, 1));
    const spec = await publishPath(store, path, { inPlace: true, signal });
    await utimes(path, 1, 1);
    await materialise(store, spec, join(dir, "out"), { force: false, signal });
    await store[Symbol.asyncDispose]();
    store = await Store.open(join(dir, "store"), { clock, log: SILENT_LOG });
    assert.ok(await hasContent(store, spec));
    await materialise(store, spec, join(dir, "out2"), { force: false, signal });
  });

  it("refuses content that does not fit what was signed", async () => {
    const path = await tree();
    const spec = await publishPath(store, path, { inPlace: false, signal });
    const forged = (change: Partial<ArtifactContent>) => codeOf(hasContent(store, { ...spec, ...change }));
    assert.equal(await forged({}), undefined);
    assert.equal(await forged({ root: "00".repeat(32) }), "artifacts.content");
    assert.equal(await forged({ content: {} }), "artifacts.content");
    assert.equal(await forged({ content: { name: "x", mode: 0o644 } }), "artifacts.content");
    assert.equal(
      await forged({ content: { listing: { blobs: [], entries: [{ path: "../x", empty: true }] } } }),
      "artifacts.listing",
    );
  });
});

describe("artifacts: listing", () => {
  const blobs = [{ root: "ab".repeat(32), sizeBytes: 10 }];
  const file = (path: string) => ({ path, mode: 0o644, sizeBytes: 1, blob: 0, offset: 0 });
  const refused = {
    "an absolute path": [file("/etc/passwd")],
    "a path that climbs": [file("a/../../b")],
    "a path with an empty part": [file("a//b")],
    "the same path twice": [file("a"), file("a")],
    "paths out of order": [file("b"), file("a")],
    "a file below a file": [file("a"), file("a/b")],
    "a file below a link": [{ path: "a", link: "b" }, file("a/b")],
    "a link that leads outside": [{ path: "a/l", link: "../../x" }],
    "an absolute link": [{ path: "l", link: "/etc" }],
    "a link that climbs after it descended": [{ path: "a/l", link: "b/../../x" }],
    "bytes beyond the end of a blob": [{ ...file("a"), offset: 10 }],
    "a blob that is not there": [{ ...file("a"), blob: 1 }],
    "a mode with setuid": [{ ...file("a"), mode: 0o4755 }],
    "an unknown field": [{ ...file("a"), owner: "root" }],
  };
  for (const [what, entries] of Object.entries(refused)) {
    it(`refuses ${what}`, () => {
      assert.throws(() => parseListing({ blobs, entries }), { code: "artifacts.listing" });
    });
  }

  it("takes every listing that it makes", async () => {
    const name = fc
      .string({ unit: "grapheme-composite", maxLength: 5 })
      .filter((text) => isInnerPath(text) && !text.includes("/"));
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(name, { maxLength: 20 }), async (names) => {
        const listing = parseListing({ blobs, entries: names.toSorted().map((name) => file(`d/${name}`)) });
        assert.deepEqual(await decodeListing(encodeListing(listing)), listing);
      }),
    );
  });

  it("reads no other form than the one that it writes", async () => {
    const bytes = encodeListing(parseListing({ blobs, entries: [file("a"), { path: "b", link: "a" }] })).toString();
    const others = [
      bytes.replace('"mode":420', '"mode":4.2e2'),
      bytes.replace('"a"', '"\\u0061"'),
      bytes.replace(',{"path":"b"', ' ,{"path":"b"'),
      bytes.replace(',{"path":"b"', ',,{"path":"b"'),
      bytes.replace("]}", ",]}"),
      bytes.replace(/\]\}$/u, ""),
      bytes.replace('"entries"', '"Entries"'),
      bytes.replace('"path":"a","mode":420', '"mode":420,"path":"a"'),
      `${bytes} `,
      "",
    ];
    assert.ok(await decodeListing(Buffer.from(bytes)));
    for (const other of others) {
      assert.notEqual(other, bytes);
      await assert.rejects(decodeListing(Buffer.from(other)), (error) => faultCode(error) !== undefined, other);
    }
  });

  it("lets others have their turn while it reads a large one", async () => {
    const entries = Array.from({ length: 50_000 }, (_, at) =>
      file(`${String(at).padStart(9, "0")}/${"x".repeat(200)}`),
    );
    const bytes = encodeListing({ blobs, entries });
    let turns = 0;
    const done = new AbortController();
    const counting = async (): Promise<void> => {
      for (; !done.signal.aborted; turns++) await clock.sleep(0);
    };
    const counted = counting();
    const { entries: read } = await decodeListing(bytes);
    done.abort();
    await counted;
    assert.equal(read.length, entries.length);
    assert.ok(turns > 20, `${turns} turns`);
  });

  it("throws nothing but faults on any input", async () => {
    const text = fc.oneof(fc.json(), fc.string(), fc.uint8Array());
    await fc.assert(
      fc.asyncProperty(text, async (input) => {
        await decodeListing(Buffer.from(input)).catch((error: unknown) => assert.ok(faultCode(error), String(error)));
      }),
    );
  });

  it("lets no link out, whatever the target", () => {
    const part = fc.constantFrom("..", ".", "a", "b", "");
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 6 }),
        fc.array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 3 }),
        (to, at) => {
          const target = to.join("/");
          if (target === "" || !isInnerLink(at.join("/"), target)) return;
          let depth = at.length - 1;
          for (const step of to) {
            depth += step === ".." ? -1 : 1;
            assert.ok(depth >= 0);
          }
        },
      ),
    );
  });
});
