import assert from "node:assert/strict";
import { get } from "node:http";
import { createMetrics, startMetricsServer } from "../../src/daemon/metrics.ts";

describe("metrics over TCP", () => {
  it("serves GET /metrics and nothing else, and names the port when it is taken", async () => {
    const registry = createMetrics();
    await using server = await startMetricsServer(registry, { host: "127.0.0.1", port: 0 });
    const fetchText = (path: string): Promise<[number, string]> =>
      new Promise((resolve, reject) => {
        get({ host: "127.0.0.1", port: server.port, path, agent: false }, (response) => {
          let text = "";
          response.on("data", (piece: Buffer) => (text += piece.toString()));
          response.on("end", () => resolve([response.statusCode ?? 0, text]));
        }).on("error", reject);
      });
    const [status, text] = await fetchText("/metrics");
    assert.equal(status, 200);
    assert.match(text, /^portolan_process_cpu_seconds_total /mu);
    assert.equal((await fetchText("/v1/status"))[0], 404);
    await assert.rejects(startMetricsServer(registry, { host: "127.0.0.1", port: server.port }), {
      code: "daemon.metrics",
      exit: "conflict",
      message: new RegExp(`127\\.0\\.0\\.1:${server.port}`, "u"),
    });
  });
});
