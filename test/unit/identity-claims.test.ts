import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import fc from "fast-check";
import { Fault } from "#core";
import { MAX_FILE_ROWS, readClaims } from "../../src/identity/claims-csv.ts";

const HEADER = "serial,model,key,tenant,labels,expires";
const KEY = "0123456789abcdef".repeat(4);
const read = (text: string) => Array.fromAsync(readClaims([Buffer.from(text)]));
const refused = async (text: string, line: number, column: string | undefined, says: RegExp): Promise<void> => {
  await assert.rejects(read(text), (error: unknown) => {
    assert.ok(error instanceof Fault, String(error));
    assert.equal(error.code, "identity.claims");
    assert.equal(error.exit, "invalid");
    assert.deepEqual(error.details, { line, column });
    assert.match(error.message, says);
    return true;
  });
};

describe("claims.csv", () => {
  it("reads every column, in any order, and leaves empty values out", async () => {
    assert.deepEqual(
      await read(
        `${HEADER},site\nSN-1,x86,${KEY.toUpperCase()},acme,rack=r1;cam=yes,2026-12-31,berlin\nSN-2,,,,,\n`.replace(
          "SN-2,,,,,\n",
          "SN-2,,,,,,\n",
        ),
      ),
      [
        {
          serial: "SN-1",
          model: "x86",
          key: KEY,
          tenant: "acme",
          labels: { rack: "r1", cam: "yes" },
          expires: "2026-12-31T00:00:00.000Z",
          site: "berlin",
        },
        { serial: "SN-2" },
      ],
    );
    assert.deepEqual(await read("expires,labels,tenant,key,model,serial\n,,,,box,SN-9"), [
      { model: "box", serial: "SN-9" },
    ]);
  });

  it("takes Windows line ends and a byte order mark", async () => {
    assert.deepEqual(await read(`\u{feff}${HEADER}\r\nSN-1,,,,,\r\n\r\nSN-2,,,,,\r\n`), [
      { serial: "SN-1" },
      { serial: "SN-2" },
    ]);
  });

  it("names line and column of what is wrong", async () => {
    await refused("serial,model,key,labels,expires\nSN-1,,,,\n", 1, "tenant", /column tenant is missing/u);
    await refused(`${HEADER},colour\nSN-1,,,,,,red\n`, 1, "colour", /no column "colour"/u);
    await refused(`${HEADER},serial\nSN-1,,,,,,SN-1\n`, 1, "serial", /stands twice/u);
    await refused(`${HEADER}\nSN-1,,,,,\nSN-2,,,,,\nSN-1,,,,,\n`, 4, "serial", /stands in line 2/u);
    await refused(`${HEADER}\nSN-1,,abc,,,\n`, 2, "key", /64 hex digits/u);
    await refused(`${HEADER}\nSN-1,,,,,\n,,,,,\n`, 3, "serial", /serial/u);
    await refused(`${HEADER}\nSN-1,,,Big Corp,,\n`, 2, "tenant", /tenant/u);
    await refused(`${HEADER}\nSN-1,,,,rack,\n`, 2, "labels", /"rack" is not key=value/u);
    await refused(`${HEADER}\nSN-1,,,,a=1;a=2,\n`, 2, "labels", /stands twice/u);
    await refused(`${HEADER}\nSN-1,,,,,soon\n`, 2, "expires", /not a date/u);
    await refused(`${HEADER}\nSN-1,x\n`, 2, undefined, /2 values for 6 columns/u);
    await refused(HEADER, 1, undefined, /no row/u);
    await refused("", 1, undefined, /no row/u);
  });

  it("reads 100,000 rows and refuses the next", async () => {
    const rows = Array.from({ length: MAX_FILE_ROWS }, (_, i) => `SN-${i},,,,,`);
    assert.equal((await read([HEADER, ...rows].join("\n"))).length, MAX_FILE_ROWS);
    await refused([HEADER, ...rows, "SN-x,,,,,"].join("\n"), MAX_FILE_ROWS + 2, undefined, /more than 100000/u);
  });

  it("passes on what the source throws", async () => {
    const broken = new Error("disk");
    await assert.rejects(Array.fromAsync(readClaims(createReadStream("/nowhere/claims.csv"))), { code: "ENOENT" });
    await assert.rejects(
      Array.fromAsync(
        readClaims(
          (async function* () {
            yield Buffer.from(HEADER);
            throw broken;
          })(),
        ),
      ),
      broken,
    );
  });

  it("answers any bytes with rows or a Fault, however they are cut", async () => {
    const text = fc.oneof(
      fc.string(),
      fc.array(fc.constantFrom("SN-1", ",", "\n", "\r\n", '"', "a=b", ";", HEADER)).map((parts) => parts.join("")),
    );
    await fc.assert(
      fc.asyncProperty(text, fc.nat(50), async (tail, cut) => {
        const bytes = Buffer.from(`${HEADER}\n${tail}`);
        try {
          await Array.fromAsync(readClaims([bytes.subarray(0, cut), bytes.subarray(cut)]));
        } catch (error) {
          assert.ok(error instanceof Fault, String(error));
        }
      }),
    );
  });
});
