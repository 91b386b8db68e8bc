import assert from "node:assert/strict";
import { asError, EXIT_CODES, errorMessage, Fault, faultCode } from "#core";

describe("fault", () => {
  it("carries a code to branch on, and what a person needs", () => {
    const cause = new Error("ENOSPC");
    const fault = new Fault("artifacts.disk-full", "no room for x", {
      fix: "free 3 MiB",
      details: { needBytes: 3 },
      cause,
    });
    assert.deepEqual(
      [fault.code, fault.message, fault.fix, fault.exit, fault.details, fault.cause],
      ["artifacts.disk-full", "no room for x", "free 3 MiB", "internal", { needBytes: 3 }, cause],
    );
  });

  it("has the exit codes that scripts rely on", () => {
    assert.deepEqual(EXIT_CODES, {
      internal: 1,
      invalid: 2,
      denied: 3,
      missing: 4,
      conflict: 5,
      timeout: 6,
      offline: 10,
    });
  });

  it("is told from anything else that was thrown", () => {
    assert.equal(faultCode(new Fault("core.x", "x")), "core.x");
    for (const thrown of [new Error("x"), { code: "core.x" }, "core.x", undefined, null]) {
      assert.equal(faultCode(thrown), undefined);
    }
  });

  it("gives a message and an Error for anything thrown", () => {
    const error = new Error("x");
    assert.equal(asError(error), error);
    assert.deepEqual([errorMessage(error), errorMessage("y"), errorMessage(undefined)], ["x", "y", "undefined"]);
    assert.deepEqual([asError("y").message, asError(7).cause], ["y", 7]);
  });
});
