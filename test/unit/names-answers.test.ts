import assert from "node:assert/strict";
import { type Answer, decode, encode, type Packet, type RecordType } from "dns-packet";
import { openStateDatabase } from "../../src/identity/state-database.ts";
import { answerMessage } from "../../src/routing/names/answer-names.ts";
import { readQuery, udpLimit } from "../../src/routing/names/dns-message.ts";
import { type MeshName, readName } from "../../src/routing/names/mesh-name.ts";
import { endsOf, type Found, type NamedService } from "../../src/routing/names/name-answers.ts";
import { nameserversOf } from "../../src/routing/names/resolv-conf.ts";
import { MAX_ADDRESSES, pickAddress, ServiceAddresses } from "../../src/routing/names/service-addresses.ts";
import { sharedLabels } from "../../src/routing/service/service.ts";
import type { KnownInstance } from "../../src/routing/service/service-directory.ts";

describe("names of services", () => {
  const names: readonly [string, MeshName][] = [
    ["api.plant-a.mesh", { kind: "service", service: "api", scope: "plant-a" }],
    ["API.Plant-A.MESH.", { kind: "service", service: "api", scope: "plant-a" }],
    ["api.hall-1.berlin.mesh", { kind: "service", service: "api", scope: "hall-1.berlin" }],
    [
      "_http._tcp.api.plant-a.mesh",
      { kind: "transport", service: "api", scope: "plant-a", transport: "tcp", isWhole: true },
    ],
    [
      "_udp.dns.plant-a.mesh",
      { kind: "transport", service: "dns", scope: "plant-a", transport: "udp", isWhole: false },
    ],
    ["mesh", { kind: "zone" }],
    ["dns.mesh", { kind: "server" }],
    ["plant-a.mesh", { kind: "part", scope: "plant-a" }],
    ["a_b.plant-a.mesh", { kind: "part", scope: "a_b.plant-a" }],
    ["-api.plant-a.mesh", { kind: "part", scope: "-api.plant-a" }],
    [`${"a".repeat(64)}.plant-a.mesh`, { kind: "part", scope: `${"a".repeat(64)}.plant-a` }],
    ["_http._tcp.mesh", { kind: "part", scope: "_http._tcp" }],
    ["example.org", { kind: "outside" }],
    ["notmesh", { kind: "outside" }],
    [".", { kind: "outside" }],
    ["", { kind: "outside" }],
  ];
  for (const [text, name] of names)
    it(`reads ${text.slice(0, 40) || "nothing"} as ${name.kind}`, () => assert.deepEqual(readName(text), name));
});

describe("answers to questions for names", () => {
  const API: NamedService = {
    address: "127.77.5.6",
    ends: [
      { transport: "tcp", port: 8_080, priority: 0, weight: 3, healthy: true },
      { transport: "udp", port: 9_000, priority: 1, weight: 1, healthy: true },
      { transport: "tcp", port: 9_999, priority: 0, weight: 1, healthy: false },
    ],
    protocols: ["http", "udp"],
    labels: { tier: "edge", wide: "é".repeat(63) + "x".repeat(130) },
  };
  const find = async (name: MeshName): Promise<Found> => {
    if (name.kind === "part") return name.scope === "plant" ? "empty" : "nothing";
    if (!("service" in name)) return "empty";
    if (name.service === "slow") return "failed";
    return name.service === "api" && name.scope === "plant" ? API : "nothing";
  };
  const deps = {
    find,
    forwarder: { ask: () => Promise.reject(new Error("nothing is passed on")) },
    forwards: () => false,
    server: "127.77.0.1",
  };
  const ask = async (message: Uint8Array, transport: "udp" | "tcp" = "udp"): Promise<Packet | undefined> => {
    const reply = await answerMessage(deps, message, transport, new AbortController().signal);
    return reply && decode(Buffer.from(reply));
  };
  const query = (name: string, type: string, more: Partial<Packet> = {}): Buffer =>
    encode({ type: "query", id: 7, flags: 0x0100, questions: [{ name, type: type as RecordType }], ...more });
  const code = (packet: Packet | undefined): string => Reflect.get(packet ?? {}, "rcode") as string;
  const dataOf = (packet: Packet | undefined): unknown[] =>
    (packet?.answers ?? []).map((answer: Answer) => ("data" in answer ? answer.data : undefined));
  const srv = (port: number, weight: number, priority: number) => ({
    port,
    weight,
    priority,
    target: "api.plant.mesh",
  });

  const records: readonly [string, string, string, unknown[]][] = [
    ["api.plant.mesh", "A", "NOERROR", ["127.77.5.6"]],
    ["aPi.pLaNt.MeSh", "A", "NOERROR", ["127.77.5.6"]],
    ["api.plant.mesh", "ANY", "NOERROR", ["127.77.5.6"]],
    ["api.plant.mesh", "AAAA", "NOERROR", []],
    ["api.plant.mesh", "MX", "NOERROR", []],
    ["api.plant.mesh", "UNKNOWN_65", "NOERROR", []],
    ["api.plant.mesh", "SRV", "NOERROR", [srv(8_080, 3, 0), srv(9_000, 1, 1)]],
    ["_http._tcp.api.plant.mesh", "SRV", "NOERROR", [srv(8_080, 3, 0)]],
    ["_x._udp.api.plant.mesh", "SRV", "NOERROR", [srv(9_000, 1, 1)]],
    ["_tcp.api.plant.mesh", "SRV", "NOERROR", []],
    ["_http._tcp.api.plant.mesh", "A", "NOERROR", []],
    ["_http._tcp.web.plant.mesh", "SRV", "NXDOMAIN", []],
    ["api.other.mesh", "A", "NXDOMAIN", []],
    ["plant.mesh", "A", "NOERROR", []],
    ["other.mesh", "A", "NXDOMAIN", []],
    ["slow.plant.mesh", "A", "SERVFAIL", []],
    ["mesh", "NS", "NOERROR", ["dns.mesh"]],
    ["mesh", "A", "NOERROR", []],
    ["dns.mesh", "A", "NOERROR", ["127.77.0.1"]],
    ["example.org", "A", "REFUSED", []],
  ];
  for (const [name, type, rcode, data] of records) {
    it(`${name} ${type}: ${rcode}, ${data.length} records`, async () => {
      const reply = await ask(query(name, type));
      assert.equal(code(reply), rcode);
      const got = dataOf(reply).map((one) => (typeof one === "object" ? { ...(one as object) } : one));
      assert.deepEqual(
        got.map((one) => (typeof one === "object" ? { ...one, target: "api.plant.mesh" } : one)),
        data,
      );
      assert.equal(reply?.id, 7);
      assert.deepEqual(
        reply?.questions?.map((one) => one.name),
        [name],
        "the question comes back, capitals and all",
      );
      assert.equal(Reflect.get(reply ?? {}, "flag_aa"), rcode === "NOERROR" || rcode === "NXDOMAIN");
    });
  }

  it("last 30 s, and 5 s where there is nothing", async () => {
    const [record] = (await ask(query("api.plant.mesh", "A")))?.answers ?? [];
    assert.equal(record && "ttl" in record && record.ttl, 30);
    for (const [name, type] of [
      ["api.plant.mesh", "AAAA"],
      ["no.plant.mesh", "A"],
    ] as const) {
      const [soa] = (await ask(query(name, type)))?.authorities ?? [];
      assert.ok(soa?.type === "SOA");
      assert.deepEqual([soa.name, soa.ttl, soa.data.minimum], ["mesh", 5, 5]);
    }
  });

  it("tell protocols and labels in TXT, but for those that do not fit a string", async () => {
    const [record] = (await ask(query("api.plant.mesh", "TXT")))?.answers ?? [];
    assert.deepEqual(record?.type === "TXT" && (record.data as Buffer[]).map(String), [
      "protocol=http",
      "protocol=udp",
      "tier=edge",
    ]);
  });

  const option = (more: object = {}): Partial<Packet> => ({
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize: 4_096,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
        ...more,
      },
    ],
  });
  const refused: readonly [string, Buffer, string][] = [
    [
      "another class",
      encode({ type: "query", questions: [{ name: "api.plant.mesh", type: "A", class: "CH" }] }),
      "REFUSED",
    ],
    ["a transfer", query("mesh", "AXFR"), "REFUSED"],
    ["another opcode", query("api.plant.mesh", "A", { flags: 0x2000 }), "NOTIMP"],
    ["no question", encode({ type: "query", questions: [] }), "FORMERR"],
    [
      "two questions",
      query("a.plant.mesh", "A", { questions: [1, 2].map(() => ({ name: "a.mesh", type: "A" as const })) }),
      "FORMERR",
    ],
    [
      "an answer in a question",
      query("api.plant.mesh", "A", { answers: [{ type: "A", name: "a.mesh", data: "127.0.0.1" }] }),
      "FORMERR",
    ],
    ["a question that is cut", query("api.plant.mesh", "A").subarray(0, -2), "FORMERR"],
    [
      "a name of pointers",
      Buffer.concat([query("", "A").subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])]),
      "FORMERR",
    ],
    [
      "options twice",
      query("api.plant.mesh", "A", { additionals: [1, 2].flatMap(() => option().additionals ?? []) }),
      "FORMERR",
    ],
  ];
  for (const [what, message, rcode] of refused)
    it(`refuses ${what}: ${rcode}`, async () => assert.equal(code(await ask(message)), rcode));

  it("says which versions of EDNS it does not know", async () => {
    const [record] = (await ask(query("api.plant.mesh", "A", option({ ednsVersion: 1 }))))?.additionals ?? [];
    assert.equal(record?.type === "OPT" && record.extendedRcode, 1); // 16, BADVERS
  });

  it("says nothing to answers and to what is no message, so that two servers never talk for ever", async () => {
    assert.equal(
      await ask(encode({ type: "response", questions: [{ name: "api.plant.mesh", type: "A" }] })),
      undefined,
    );
    for (let length = 0; length < 12; length++) assert.equal(await ask(Buffer.alloc(length)), undefined);
  });

  it("passes over counts that a message does not have room for", async () => {
    const message = query("api.plant.mesh", "A");
    message.writeUInt16BE(65_535, 6);
    assert.equal(code(await ask(message)), "FORMERR");
  });

  it("are as long as the client takes: 512 bytes, what it says up to 1,232, or all over TCP", async () => {
    const limit = (size?: number): number => {
      const read = readQuery(query("a.plant.mesh", "A", size === undefined ? {} : option({ udpPayloadSize: size })));
      return read === undefined ? 0 : udpLimit(read);
    };
    assert.deepEqual([limit(), limit(100), limit(1_000), limit(4_096)], [512, 512, 1_000, 1_232]);
    const ends = Array.from(
      { length: 8 },
      (_, i) => ({ ...API.ends[0], port: i + 1, healthy: true }) as NamedService["ends"][0],
    );
    const name = `${"a".repeat(63)}.plant.mesh`;
    const many = { ...deps, find: async () => ({ ...API, ends }) };
    const reply = async (transport: "udp" | "tcp", more: Partial<Packet> = {}) => {
      const bytes = await answerMessage(many, query(name, "SRV", more), transport, new AbortController().signal);
      const packet = decode(Buffer.from(bytes ?? []));
      return [
        Reflect.get(packet, "flag_tc"),
        packet.answers?.length,
        (bytes?.length ?? 0) <= (transport === "udp" ? 1_232 : 9_999),
      ];
    };
    assert.deepEqual(await reply("udp"), [true, 0, true]);
    assert.deepEqual(await reply("udp", option({ udpPayloadSize: 700 })), [true, 0, true]);
    assert.deepEqual(await reply("tcp"), [false, 8, true]);
  });
});

describe("ports of a name", () => {
  const instance = (more: Partial<KnownInstance>): KnownInstance => ({
    node: "n",
    name: "api",
    tenant: "t",
    protocol: "http",
    labels: {},
    priority: 0,
    weight: 1,
    healthy: true,
    cost: 1,
    hops: 1,
    since: 0,
    reason: "",
    port: 80,
    ...more,
  });

  it("are those that instances tell, the closest healthy one's first, with the weights of one priority together", () => {
    const ends = endsOf([
      instance({ port: 81, cost: 1, healthy: false }),
      instance({ port: 82, cost: 9 }),
      instance({ port: 80, cost: 3, weight: 5 }),
      instance({ port: 80, cost: 4, weight: 7, protocol: "tcp" }),
      instance({ port: 80, cost: 5, weight: 100, priority: 1 }),
      instance({ port: 80, cost: 6, weight: 100, healthy: false }),
      instance({ port: 80, cost: 6, protocol: "udp" }),
      instance({ port: 80, cost: 7, weight: 3, protocol: "tcp+udp" }),
      instance({ port: 53, cost: 20, protocol: "tcp+udp" }),
    ]);
    assert.deepEqual(
      ends.map(({ transport, port, priority, weight, healthy }) => [transport, port, priority, weight, healthy]),
      [
        ["tcp", 80, 0, 15, true],
        ["udp", 80, 0, 4, true],
        ["tcp", 82, 0, 1, true],
        ["tcp", 53, 0, 1, true],
        ["udp", 53, 0, 1, true],
        ["tcp", 81, 0, 1, false],
      ],
    );
    assert.equal(endsOf(Array.from({ length: 20 }, (_, port) => instance({ port }))).length, 8);
  });

  it("come with the labels that all instances have", () => {
    const labels = [
      { a: "1", b: "2" },
      { a: "1", b: "3" },
      { a: "1", c: "4" },
    ].map((each) => instance({ labels: each }));
    assert.deepEqual(sharedLabels(labels), { a: "1" });
    assert.deepEqual(sharedLabels([]), {});
  });
});

describe("addresses of names", () => {
  const used = new Set<string>();
  let nowMs = 1;
  const make = (db: ReturnType<typeof openStateDatabase>, range: string) =>
    new ServiceAddresses({ db, range, trustedMs: () => nowMs, isInUse: (address) => used.has(address) });

  it("are the same after a restart, and in another block others", () => {
    const db = openStateDatabase(":memory:");
    const book = make(db, "127.77");
    const first = book.of({ service: "api", scope: "plant" }) ?? assert.fail();
    assert.match(first, /^127\.77\.(?!0\.)\d+\.\d+$/u);
    assert.equal(make(db, "127.77").of({ service: "api", scope: "plant" }), first);
    assert.notEqual(book.of({ service: "api", scope: "other" }), first);
    assert.equal(make(db, "127.78").of({ service: "api", scope: "plant" }), first.replace("127.77", "127.78"));
  });

  it("stand each for one name, also where two have the same hash", () => {
    const first = pickAddress("api.plant.mesh", "127.77", new Set());
    const second = pickAddress("api.plant.mesh", "127.77", new Set([first]));
    assert.notEqual(first, second);
    const book = make(openStateDatabase(":memory:"), "127.77");
    const all = new Set(Array.from({ length: MAX_ADDRESSES }, (_, i) => book.of({ service: `s${i}`, scope: "plant" })));
    assert.equal(all.size, MAX_ADDRESSES);
  }).timeout(20_000);

  it("are taken from the name that was asked for longest ago, when there are 4,096, but not while somebody uses it", () => {
    const db = openStateDatabase(":memory:");
    make(db, "127.77"); // the table
    db.exec("BEGIN");
    const insert = db.prepare("INSERT INTO service_addresses (name, address, used_ms) VALUES (?, ?, ?)");
    for (let i = 0; i < MAX_ADDRESSES; i++) insert.run(`s${i}.plant.mesh`, `127.77.${1 + (i >> 8)}.${i & 255}`, i);
    db.exec("COMMIT");
    used.clear();
    used.add("127.77.1.0");
    nowMs = 10_000;
    assert.notEqual(make(db, "127.77").of({ service: "new", scope: "plant" }), undefined);
    const left = new Set(
      db
        .prepare("SELECT name FROM service_addresses")
        .all()
        .map((row) => row["name"]),
    );
    assert.deepEqual([left.has("s0.plant.mesh"), left.has("s1.plant.mesh"), left.size], [true, false, MAX_ADDRESSES]);
  });
});

describe("resolv.conf", () => {
  it("names its servers in lines of their own, three at most", () => {
    const text =
      "# nameserver 9.9.9.9\nsearch x\nnameserver 10.0.0.1\nnameserver\tfe80::1%eth0 \nnameserver nonsense\noptions a\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
    assert.deepEqual(nameserversOf(text), ["10.0.0.1", "fe80::1%eth0", "10.0.0.2"]);
    assert.deepEqual(nameserversOf(""), []);
  });
});
