import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exportTorrent, materialise, publishPath, publishTorrent, seedTorrent, Store } from "#artifacts";
import { faultCode, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Bencoded, encodeBencode } from "../../src/artifacts/torrent/bencode.ts";
import { makeMetainfo } from "../../src/artifacts/torrent/metainfo.ts";
import { Bystander } from "../support/bystander.ts";
import { MetadataPeer } from "../support/metadata-peer.ts";

const clock = new SystemClock();
const never = new AbortController().signal;
const CONTENT = Buffer.from(new SystemRandom().bytes(3 * 1024 * 1024 + 12_345));
const PYTHON = "/usr/bin/python3";
const LIBTORRENT_FETCH = join(import.meta.dirname, "..", "support", "libtorrent_fetch.py");

describe("torrents", function () {
  this.timeout(60_000);
  let dir: string;
  let store: Store;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "portolan-torrent-"));
    store = await Store.open(join(dir, "store"), { clock, log: SILENT_LOG });
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  const exported = async (path: string, name = "thing:v1") => {
    const spec = await publishPath(store, path, { inPlace: false, signal: never });
    return exportTorrent(store, spec, { name, trackers: [], signal: never, onBytes: () => undefined });
  };

  /** A folder with what folders have. */
  async function writeTree(): Promise<string> {
    const tree = join(dir, "tree");
    await mkdir(join(tree, "bin"), { recursive: true });
    await writeFile(join(tree, "bin", "run"), "#!/bin/sh\n");
    await chmod(join(tree, "bin", "run"), 0o755);
    await writeFile(join(tree, "empty"), "");
    await writeFile(join(tree, "large"), CONTENT);
    await writeFile(join(tree, "small"), CONTENT.subarray(0, 1_000));
    return tree;
  }

  it("takes in a file from a BitTorrent client, by its .torrent file and by a magnet link", async () => {
    const path = join(dir, "file.bin");
    await writeFile(path, CONTENT);
    const { metainfo, magnet } = await exported(path);
    await using other = new Bystander();
    await other.seed(metainfo.bytes, dir);
    await writeFile(join(dir, "file.torrent"), metainfo.bytes);
    const peers = [await other.address()];
    for (const source of [join(dir, "file.torrent"), magnet, `${magnet}&x.pe=${peers[0]}`]) {
      const fresh = await Store.open(join(dir, createHash("sha256").update(source).digest("hex")), {
        clock,
        log: SILENT_LOG,
      });
      const seen = new Set<string>();
      const options = { signal: never, onProgress: ({ phase }: { phase: string }) => void seen.add(phase) };
      const spec = await publishTorrent(fresh, source, source.includes("x.pe") ? options : { ...options, peers });
      assert.ok(seen.has("checking"));
      await materialise(fresh, spec, join(dir, "out"), { force: true, signal: never });
      assert.deepEqual(await readFile(join(dir, "out")), CONTENT);
      await fresh[Symbol.asyncDispose]();
    }
  });

  it("asks the tracker that the torrent or the link names", async () => {
    const path = join(dir, "file.bin");
    await writeFile(path, CONTENT);
    const content = await publishPath(store, path, { inPlace: false, signal: never });
    await using other = new Bystander();
    const port = Number((await other.address()).split(":")[1]);
    const asked: string[] = [];
    const tracker = createServer((request, response) => {
      asked.push(request.url ?? "");
      const peers = Buffer.from([127, 0, 0, 1, port >> 8, port & 0xff]);
      response.end(
        encodeBencode(
          new Map<string, Bencoded>([
            ["interval", 60],
            ["peers", peers],
          ]),
        ),
      );
    }).listen(0, "127.0.0.1");
    await once(tracker, "listening");
    const url = `http://127.0.0.1:${(tracker.address() as AddressInfo).port}/announce`;
    const options = { name: "file", trackers: [url], signal: never, onBytes: () => undefined };
    const { metainfo, magnet } = await exportTorrent(store, content, options);
    await other.seed(makeMetainfo(metainfo, []).bytes, dir); // the same torrent, of which the tracker is not told
    await writeFile(join(dir, "file.torrent"), metainfo.bytes);
    for (const source of [join(dir, "file.torrent"), magnet]) {
      await using fresh = await Store.open(join(dir, `fresh-${asked.length}`), { clock, log: SILENT_LOG });
      assert.equal((await publishTorrent(fresh, source, { signal: never })).root, content.root);
    }
    assert.match(asked[0] ?? "", /[?&]info_hash=/u);
    tracker.close();
    tracker.closeAllConnections();
  });

  it("takes in a folder as one artifact, with what can be run and what is empty", async () => {
    const tree = await writeTree();
    const { metainfo } = await exported(tree, "tree");
    await using other = new Bystander();
    await other.seed(metainfo.bytes, dir);
    await writeFile(join(dir, "tree.torrent"), metainfo.bytes);
    const options = { peers: [await other.address()], signal: never };
    const spec = await publishTorrent(store, join(dir, "tree.torrent"), options);
    assert.equal(spec.directory, true);
    await materialise(store, spec, join(dir, "out"), { force: false, signal: never });
    const found = (await readdir(join(dir, "out"), { recursive: true })).toSorted();
    assert.deepEqual(found, ["bin", "bin/run", "empty", "large", "small"]);
    for (const file of ["bin/run", "empty", "large", "small"]) {
      assert.deepEqual(await readFile(join(dir, "out", file)), await readFile(join(tree, file)), file);
    }
    assert.equal((await stat(join(dir, "out", "bin", "run"))).mode & 0o777, 0o755);
    assert.equal((await stat(join(dir, "out", "small"))).mode & 0o777, 0o644);
  });

  it("serves a file and a folder to a BitTorrent client, straight from the store", async () => {
    const path = join(dir, "file.bin");
    await writeFile(path, CONTENT);
    for (const made of [await exported(path), await exported(await writeTree(), "a:tree")]) {
      const stop = new AbortController();
      const port = Promise.withResolvers<number>();
      const seeding = seedTorrent(made, {
        listen: { host: "127.0.0.1", port: 0 },
        signal: stop.signal,
        onProgress: (progress) => port.resolve(progress.port),
      });
      await using other = new Bystander();
      await other.fetch(made.metainfo.bytes, join(dir, "got"), `127.0.0.1:${await port.promise}`);
      stop.abort(new Error("enough"));
      await assert.rejects(seeding, /enough/u);
    }
    assert.deepEqual(await readFile(join(dir, "got", "file.bin")), CONTENT);
    assert.deepEqual(await readFile(join(dir, "got", "a-tree", "large")), CONTENT);
    assert.deepEqual(await readFile(join(dir, "got", "a-tree", "bin", "run"), "utf8"), "#!/bin/sh\n");
  });

  it("serves libtorrent", async function () {
    if (!(await hasLibtorrent())) {
      console.log("      skipped: python3 has no libtorrent here");
      return this.skip();
    }
    const made = await exported(await writeTree(), "tree");
    await writeFile(join(dir, "tree.torrent"), made.metainfo.bytes);
    await mkdir(join(dir, "got"));
    const stop = new AbortController();
    const port = Promise.withResolvers<number>();
    const seeding = seedTorrent(made, {
      listen: { host: "127.0.0.1", port: 0 },
      signal: stop.signal,
      onProgress: (progress) => port.resolve(progress.port),
    });
    const at = ["127.0.0.1", String(await port.promise)];
    const peer = spawn(PYTHON, [LIBTORRENT_FETCH, join(dir, "tree.torrent"), join(dir, "got"), ...at]);
    assert.deepEqual(await once(peer, "exit"), [0, null]);
    stop.abort(new Error("enough"));
    await assert.rejects(seeding, /enough/u);
    assert.deepEqual(await readFile(join(dir, "got", "tree", "large")), CONTENT);
  });

  it("takes nothing in from a client with other bytes, and leaves nothing behind when it is told to stop", async () => {
    const path = join(dir, "file.bin");
    await writeFile(path, CONTENT);
    const { metainfo } = await exported(path);
    await writeFile(join(dir, "file.torrent"), metainfo.bytes);
    const bad = Buffer.from(CONTENT);
    bad[1_000_000] = (bad[1_000_000] ?? 0) ^ 1;
    await mkdir(join(dir, "bad"));
    await writeFile(join(dir, "bad", "file.bin"), bad);
    await using liar = new Bystander();
    const seeding = await liar.seed(metainfo.bytes, join(dir, "bad"));
    await using fresh = await Store.open(join(dir, "fresh"), { clock, log: SILENT_LOG });
    const stop = new AbortController();
    const taking = publishTorrent(fresh, join(dir, "file.torrent"), {
      peers: [await liar.address()],
      signal: stop.signal,
      onProgress: ({ phase }) => {
        assert.equal(phase, "fetching");
        if (seeding.uploaded > CONTENT.length) stop.abort(new Error("enough")); // it sent all of it, and a piece again
      },
    });
    await assert.rejects(taking, /enough/u);
    assert.deepEqual(await readdir(join(dir, "fresh", "importing")), []);
    assert.deepEqual(fresh.list(), []);
  });

  it("refuses metadata of a stranger that would bring it down", async () => {
    const info = new Map<string, Bencoded>([
      ["length", 2 ** 50],
      ["name", Buffer.from("x")],
      ["piece length", 2 ** 50],
      ["pieces", new Uint8Array(20)],
    ]);
    await using stranger = await MetadataPeer.start(encodeBencode(info));
    const taking = publishTorrent(store, stranger.magnet, { signal: never });
    await assert.rejects(taking, (error) => faultCode(error) === "artifacts.torrent");
    assert.ok(stranger.asked);
  });

  it("says what is missing or wrong before anything starts", async () => {
    const path = join(dir, "file.bin");
    await writeFile(path, CONTENT);
    const { metainfo, magnet } = await exported(path);
    await writeFile(join(dir, "file.torrent"), metainfo.bytes);
    const huge = makeMetainfo(
      {
        name: "huge",
        single: true,
        pieceBytes: 32 * 1024 * 1024,
        hashes: new Uint8Array(20 * 2 ** 15),
        files: [{ path: "huge", sizeBytes: 2 ** 40, offset: 0, executable: false }],
      },
      [],
    );
    await writeFile(join(dir, "huge.torrent"), huge.bytes);
    const peers = ["127.0.0.1:9"];
    const cases: [string, string[], string][] = [
      [join(dir, "nothing.torrent"), peers, "artifacts.not-found"],
      [dir, peers, "artifacts.not-a-file"],
      [path, peers, "artifacts.torrent"],
      [join(dir, "file.torrent"), [], "artifacts.no-peers"],
      [magnet, [], "artifacts.no-peers"],
      [magnet, ["example.com:1"], "artifacts.peer"],
      ["magnet:?xt=urn:btih:12", peers, "artifacts.magnet"],
      [join(dir, "huge.torrent"), peers, "artifacts.no-room"],
    ];
    for (const [source, named, code] of cases) {
      const taking = publishTorrent(store, source, { peers: named, signal: never });
      await assert.rejects(taking, (error) => faultCode(error) === code, `${source} ${code}`);
    }
  });
});

async function hasLibtorrent(): Promise<boolean> {
  const python = spawn(PYTHON, ["-c", "import libtorrent"], { stdio: "ignore" });
  const [code] = (await Promise.race([once(python, "exit"), once(python, "error")])) as unknown[];
  return code === 0;
}
