import { decodeCbor, encodeCbor, parseJson } from "#core";
import { argvOf } from "../../../src/routing/service/check.ts";
import { readInstances, writeInstances } from "../../../src/routing/service/instance-record.ts";
import { readAnswer, readQuestion, serviceKey } from "../../../src/routing/service/lookup-wire.ts";
import { draftOf, parseService } from "../../../src/routing/service/service.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const MAX_BYTES = 8 * 1024;
const record = (name: string, ...more: unknown[]): unknown[] => [
  name,
  "tcp",
  0,
  1,
  true,
  1_760_000_000,
  "",
  {},
  554,
  ...more,
];

/** What a node tells of its services. */
const instances: FuzzTarget = {
  name: "services",
  covers: ["src/routing/service/instance-record.ts#readInstances", "src/routing/service/instance-record.ts"],
  grammar: "cbor",
  maxBytes: MAX_BYTES,
  seeds: () =>
    [
      { services: [record("cam"), record("web", "later")] },
      { services: [["dns", "udp", 10, 65_535, false, 0, "exit 1", { tier: "edge", rack: "r1" }, 53]], later: true },
      { services: [] },
    ].map(encodeCbor),
  refuses: ["core.cbor"],
  prepare: () => (input) => {
    const read = readInstances(decodeCbor(input, MAX_BYTES));
    if (read === undefined) return "no sense";
    const again = readInstances(writeInstances([...read.values()]));
    mustHold(
      JSON.stringify([...read]) === JSON.stringify([...(again ?? [])]),
      "written and read again, they are others",
    );
    return `${Math.min(read.size, 4)} services`;
  },
};

/** What nodes ask each other for, and answer. */
const questions: FuzzTarget = {
  name: "service-questions",
  covers: [
    "src/routing/service/lookup-wire.ts#readQuestion",
    "src/routing/service/lookup-wire.ts#readAnswer",
    "src/routing/service/lookup-wire.ts",
  ],
  grammar: "cbor",
  seeds: () => [{ tenant: "default", name: "cam" }, { found: true }, { found: false }].map(encodeCbor),
  refuses: ["core.cbor"],
  prepare: () => (input) => {
    const said = decodeCbor(input, 512);
    const question = readQuestion(said);
    const answer = readAnswer(said);
    mustHold(question === undefined || answer === undefined, "a question is an answer, too");
    mustHold(question === undefined || serviceKey(question).length === 64, "a key is no hash");
    return question === undefined ? `${answer}` : "question";
  },
};

/** What a person publishes, and a row of state.db holds. */
const drafts: FuzzTarget = {
  name: "service-drafts",
  covers: [
    "src/routing/service/service.ts#parseService",
    "src/routing/service/service.ts",
    "src/routing/service/target.ts#parseTarget",
    "src/routing/service/check.ts#parseCheck",
  ],
  grammar: "json",
  maxBytes: MAX_BYTES,
  seeds: () =>
    [
      { name: "cam", to: "192.168.7.20:554", check: "tcp" },
      { name: "web", to: "[fd00::7]:8080", protocol: "http", check: "http=/healthz?x=1", labels: { tier: "edge" } },
      {
        name: "dns",
        to: "printer.local:53",
        protocol: "udp",
        check: "exec=dig @127.0.0.1 | grep -q A",
        priority: 7,
        weight: 0,
      },
    ].map((draft) => Buffer.from(JSON.stringify(draft))),
  refuses: ["core.json", "routing.service", "routing.target", "routing.check"],
  prepare: () => (input) => {
    const service = parseService(parseJson(input, MAX_BYTES));
    const again = parseService(draftOf(service));
    mustHold(JSON.stringify(again) === JSON.stringify(service), "written and read again, it is another");
    if (service.check?.kind === "exec") mustHold((argvOf(service.check.command)[0] ?? "") !== "", "nothing is run");
    return `${service.protocol} ${service.check?.kind}`;
  },
};

export const SERVICE_TARGETS: readonly FuzzTarget[] = [instances, questions, drafts];
