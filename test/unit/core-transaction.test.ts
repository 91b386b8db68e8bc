import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { inTransaction } from "#core";

describe("core: transaction", () => {
  let db: DatabaseSync;
  beforeEach(() => {
    db = new DatabaseSync(":memory:");
    db.exec("CREATE TABLE t (n INTEGER UNIQUE)");
  });
  afterEach(() => db.close());

  const count = (): unknown => db.prepare("SELECT count(*) AS n FROM t").get()?.["n"];

  it("keeps all and returns what the work returned", () => {
    const result = inTransaction(db, () => {
      db.exec("INSERT INTO t VALUES (1)");
      db.exec("INSERT INTO t VALUES (2)");
      return "done";
    });
    assert.deepEqual([result, count(), db.isTransaction], ["done", 2, false]);
  });

  it("keeps nothing when the work fails half way", () => {
    const work = (): void => {
      db.exec("INSERT INTO t VALUES (1)");
      throw new Error("half way");
    };
    assert.throws(() => inTransaction(db, work), /half way/u);
    assert.deepEqual([count(), db.isTransaction], [0, false]);
  });

  it("says why, also where SQLite has rolled back by itself", () => {
    const work = (): void => {
      db.exec("INSERT INTO t VALUES (1)");
      db.exec("INSERT OR ROLLBACK INTO t VALUES (1)");
    };
    assert.throws(() => inTransaction(db, work), /UNIQUE/u);
    assert.equal(count(), 0);
  });
});
