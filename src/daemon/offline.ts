import { join } from "node:path";
import { SOCKET_NAME } from "#api";
import { createLog, SystemClock, SystemRandom } from "#core";
import { ArtifactKeeper } from "./artifact-keeper.ts";
import { artifactHandlers } from "./control/artifacts.ts";
import { createHandlers } from "./control/index.ts";
import { torrentHandlers } from "./control/torrents.ts";
import { createMetrics } from "./metrics.ts";
import { openNode } from "./node.ts";
import { startControlServer } from "./server.ts";
import { standing } from "./standing.ts";
import { VERSION } from "./version.ts";

/** The control API over a data directory whose daemon does not run. */
export async function startOffline(dataDir: string): Promise<AsyncDisposable> {
  const clock = new SystemClock();
  const log = createLog(clock, (line) => process.stderr.write(line), "warn");
  await using stack = new AsyncDisposableStack();
  const node = openNode(dataDir, { clock, random: new SystemRandom(), log, version: VERSION });
  stack.defer(() => node.close());
  const keeper = stack.use(await ArtifactKeeper.open(node, {}));
  const handlers = createHandlers(node.state, {
    host: undefined,
    router: undefined,
    ways: undefined,
    services: undefined,
    lookup: undefined,
    names: undefined,
    join: () => standing(node.state) ?? { state: "joining" },
    otherFleets: () => [],
    usage: () => keeper.usage(),
    limits: undefined,
    artifacts: { ...artifactHandlers(node, keeper), ...torrentHandlers(node, keeper, () => ({})) },
    shutdown: () => undefined,
  });
  stack.use(
    await startControlServer(
      { handlers, metrics: createMetrics(), log, clock },
      { socketPath: join(dataDir, SOCKET_NAME), version: VERSION },
    ),
  );
  return stack.move();
}
