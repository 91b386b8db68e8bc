import { decode, encode, type Packet } from "dns-packet";
import { answerMessage } from "../../../src/routing/names/answer-names.ts";
import { MAX_UDP_BYTES, readQuery, udpLimit } from "../../../src/routing/names/dns-message.ts";
import { type MeshName, readName, writeName } from "../../../src/routing/names/mesh-name.ts";
import type { Found } from "../../../src/routing/names/name-answers.ts";
import { nameserversOf } from "../../../src/routing/names/resolv-conf.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const question = (name: string, type: "A" | "SRV" | "TXT" | "SOA" = "A", more: Packet = {}): Uint8Array =>
  encode({ type: "query", id: 1, flags: 0x0100, questions: [{ name, type }], ...more });

const find = async (name: MeshName): Promise<Found> => {
  if (name.kind !== "service" && name.kind !== "transport") return name.kind === "part" ? "nothing" : "empty";
  const ends = [{ transport: "tcp", port: 80, priority: 0, weight: 1, healthy: true }] as const;
  return { address: "127.77.1.0", ends, protocols: ["http"], labels: { tier: "edge" } };
};

/** What any program of the machine may send to the DNS server. */
const queries: FuzzTarget = {
  name: "dns-queries",
  covers: [
    "src/routing/names/dns-message.ts#readQuery",
    "src/routing/names/mesh-name.ts#readName",
    "src/routing/names/mesh-name.ts",
  ],
  grammar: "bytes",
  maxBytes: 4_096,
  seeds: () => [
    question("api.plant-a.mesh"),
    question("_http._tcp.api.plant-a.mesh", "SRV"),
    question("API.hall.berlin.mesh", "TXT"),
    question("mesh", "SOA"),
    question("example.org"),
    question("api.plant-a.mesh", "A", {
      additionals: [
        {
          type: "OPT",
          name: ".",
          udpPayloadSize: 1_232,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: false,
          options: [{ code: 14, tags: [1] }],
        },
      ],
    }),
  ],
  refuses: [],
  prepare: () => {
    const deps = {
      find,
      forwarder: { ask: () => Promise.resolve(undefined) },
      forwards: () => false,
      server: "127.77.0.1",
    };
    const { signal } = new AbortController();
    return async (input) => {
      const query = readQuery(input);
      const reply = await answerMessage(deps, input, "udp", signal);
      mustHold((query === undefined) === (reply === undefined), "what is no query gets an answer");
      if (query === undefined || reply === undefined) return "silence";
      mustHold(reply.length <= Math.min(udpLimit(query), MAX_UDP_BYTES), "the answer is too long");
      const answer = decode(Buffer.from(reply));
      mustHold(answer.id === query.id && answer.type === "response", "it is no answer to that");
      const name = readName(query.question?.name ?? "");
      if (name.kind === "service") {
        const again = readName(writeName(name));
        mustHold(JSON.stringify(again) === JSON.stringify(name), "written and read again, it is another name");
      }
      return `${query.refusal} ${name.kind} ${answer.answers?.length}`;
    };
  },
};

/** The file in which a machine's administrator says whom to ask. */
const resolvConf: FuzzTarget = {
  name: "resolv-conf",
  covers: [],
  grammar: "text",
  seeds: () =>
    ["nameserver 10.0.0.1\nnameserver fe80::1%eth0\n", "search a b\n# x\nnameserver\t::1 \n"].map((text) =>
      Buffer.from(text),
    ),
  refuses: [],
  prepare: () => (input) => {
    const servers = nameserversOf(Buffer.from(input).toString("utf8"));
    mustHold(
      servers.every((server) => !/\s/u.test(server)),
      "a server has a space",
    );
    return `${servers.length} servers`;
  },
};

export const NAME_TARGETS: readonly FuzzTarget[] = [queries, resolvConf];
