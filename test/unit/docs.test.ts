import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { listFiles, readSources } from "../../scripts/source-tree.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Targets of Markdown links to files of this repository, without their #anchor. */
function localLinks(text: string): string[] {
  const targets = Array.from(text.matchAll(/\]\(([^)\s]+)\)/gu), ([, target]) => target ?? "");
  return targets.filter((target) => !/^(?:[a-z]+:|#)/u.test(target)).map((target) => target.replace(/#.*$/u, ""));
}

describe("documentation", () => {
  for (const page of listFiles(ROOT).filter((path) => path.endsWith(".md"))) {
    it(`${page} links to files that exist`, () => {
      const missing = localLinks(readFileSync(join(ROOT, page), "utf8")).filter(
        (target) => !existsSync(join(ROOT, dirname(page), target)),
      );
      assert.deepEqual(missing, []);
    });
  }

  it("has every page that the code names", () => {
    const named = readSources(ROOT).flatMap(({ path, text }) =>
      Array.from(text.matchAll(/\bdocs\/[\w/-]+\.md\b/gu), ([page]) => ({ path, page })),
    );
    assert.deepEqual(
      named.filter(({ page }) => !existsSync(join(ROOT, page))),
      [],
    );
  });

  it("lists every page of docs/spec in its index", () => {
    const listed = localLinks(readFileSync(join(ROOT, "docs/spec/README.md"), "utf8"));
    const pages = readdirSync(join(ROOT, "docs/spec")).filter((page) => page !== "README.md");
    assert.deepEqual(
      pages.filter((page) => !listed.includes(page)),
      [],
    );
  });
});
