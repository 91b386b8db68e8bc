import assert from "node:assert/strict";
import { withLastPorts } from "../../src/daemon/listen.ts";

describe("ports over a restart", () => {
  const before = ["/ip4/192.0.2.1/tcp/40001/tls/p2p/12D3", "/ip6/::1/tcp/40002/tls/p2p/12D3"];
  const table: [string, string[], string[], string[]][] = [
    ["keeps a free port", ["/ip4/0.0.0.0/tcp/0/tls"], before, ["/ip4/0.0.0.0/tcp/40001/tls"]],
    [
      "keeps one for each family",
      ["/ip6/::/tcp/0", "/ip4/0.0.0.0/tcp/0"],
      before,
      ["/ip6/::/tcp/40002", "/ip4/0.0.0.0/tcp/40001"],
    ],
    ["leaves a port alone that was asked for", ["/ip4/0.0.0.0/tcp/4001/tls"], before, ["/ip4/0.0.0.0/tcp/4001/tls"]],
    ["takes a free one at first start", ["/ip4/0.0.0.0/tcp/0/tls"], [], ["/ip4/0.0.0.0/tcp/0/tls"]],
    ["takes a free one in a family that is new", ["/ip6/::/tcp/0/tls"], before.slice(0, 1), ["/ip6/::/tcp/0/tls"]],
  ];
  for (const [behaviour, listen, last, expected] of table) {
    it(behaviour, () => assert.deepEqual(withLastPorts(listen, last), expected));
  }
});
