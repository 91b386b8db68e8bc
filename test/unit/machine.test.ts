import assert from "node:assert/strict";
import { OUT_OF_TOUCH_MS, Contact, changedMachine, printMachine } from "#identity";
import { REUNION_MS } from "../../src/identity/contact.ts";

const FACTS = { machineId: "0f3c", dmiUuid: "4C4C-4544", macs: ["02:00:00:00:00:01", "02:00:00:00:00:02"] };

describe("machine print", () => {
  const cases: [string, Partial<typeof FACTS>, string[]][] = [
    ["nothing changed", {}, []],
    ["letters in another case", { dmiUuid: "4c4c-4544\n" }, []],
    ["a card more and one less", { macs: ["02:00:00:00:00:02", "02:00:00:00:00:09"] }, []],
    ["all cards others", { macs: ["02:00:00:00:00:09"] }, ["network cards"]],
    ["no card there", { macs: [] }, []],
    ["another machine-id", { machineId: "aaaa" }, ["machine-id"]],
    [
      "another machine",
      { machineId: "aaaa", dmiUuid: "b", macs: ["02:aa:00:00:00:01"] },
      ["machine-id", "DMI UUID", "network cards"],
    ],
  ];
  for (const [what, change, differs] of cases) {
    it(`says what differs: ${what}`, () => {
      const changed = changedMachine(printMachine(FACTS, "node"), printMachine({ ...FACTS, ...change }, "node"));
      assert.deepEqual(changed, differs);
    });
  }

  it("blames nothing on what could not be read, and holds nothing of the hardware in the clear", () => {
    const before = printMachine(FACTS, "node");
    assert.deepEqual(changedMachine(before, printMachine({ macs: FACTS.macs }, "node")), []);
    const text = JSON.stringify(before);
    for (const plain of [FACTS.machineId, FACTS.dmiUuid, ...FACTS.macs]) assert.ok(!text.includes(plain));
    assert.notDeepEqual(printMachine(FACTS, "other"), before);
  });
});

describe("contact with registrars", () => {
  it("admits those whose membership has ended while none is heard, and for a while after", () => {
    const contact = new Contact(1_000);
    assert.deepEqual(
      [contact.inTouch(2_000), contact.aloneMs(2_000), contact.admitsAutonomous(2_000)],
      [false, 1_000, true],
    );
    contact.heard(5_000);
    assert.deepEqual([contact.inTouch(6_000), contact.aloneMs(6_000)], [true, undefined]);
    for (let nowMs = 5_000; nowMs <= 5_000 + REUNION_MS; nowMs += 10_000) contact.heard(nowMs);
    assert.equal(contact.admitsAutonomous(5_000 + REUNION_MS - 1), true);
    assert.equal(contact.admitsAutonomous(5_000 + REUNION_MS), false);
    const lastMs = 5_000 + REUNION_MS;
    assert.equal(contact.inTouch(lastMs + OUT_OF_TOUCH_MS - 10_000), true);
    assert.equal(contact.admitsAutonomous(lastMs + OUT_OF_TOUCH_MS), true);
    assert.equal(contact.aloneMs(lastMs + OUT_OF_TOUCH_MS), OUT_OF_TOUCH_MS);
  });
});
