import type { Handlers } from "#api";
import { daemonDown } from "../daemon-down.ts";
import type { RateKeeper } from "../rate-keeper.ts";

/** How fast content may come and go. */
export function limitHandlers(keeper: RateKeeper | undefined): Pick<Handlers, "limits" | "setLimits" | "resetLimits"> {
  const running = (): RateKeeper => {
    if (keeper !== undefined) return keeper;
    throw daemonDown("nothing comes or goes");
  };
  return {
    limits: async () => running().all(),
    setLimits: async ({ forSeconds, ...change }) => {
      running().set(change, forSeconds);
      return running().all();
    },
    resetLimits: async () => {
      running().reset();
      return running().all();
    },
  };
}
