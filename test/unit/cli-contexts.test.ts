import assert from "node:assert/strict";
import { faultCode } from "#core";
import { type Contexts, MAX_CONTEXTS, withContext } from "../../src/cli/contexts.ts";

describe("contexts", () => {
  const full: Contexts = {
    current: "node-0",
    contexts: Object.fromEntries(Array.from({ length: MAX_CONTEXTS }, (_, i) => [`node-${i}`, { data: `/data/${i}` }])),
  };
  const fresh = { data: "/data/fresh", name: undefined, key: "/keys/fresh" };

  it("make room by dropping those whose directory is gone", () => {
    const { current, contexts } = withContext(full, fresh, (data) => data === "/data/7");
    assert.deepEqual(contexts, { "node-7": { data: "/data/7" }, fresh: { data: "/data/fresh", key: "/keys/fresh" } });
    assert.equal(current, "fresh");
  });

  it("say that they are full rather than forget the new one", () => {
    assert.throws(
      () => withContext(full, fresh, () => true),
      (error) => faultCode(error) === "cli.contexts",
    );
  });

  it("keep those that are gone while there is room: a disk may not be mounted", () => {
    const few: Contexts = { current: "a", contexts: { a: { data: "/data/a" } } };
    const { current, contexts } = withContext(few, fresh, () => false);
    assert.deepEqual(Object.keys(contexts), ["a", "fresh"]);
    assert.equal(current, "a");
  });
});
