import type { Handlers } from "#api";
import { Fault } from "#core";
import type { RateKeeper } from "../rate-keeper.ts";

/** How fast content may come and go. */
export function limitHandlers(keeper: RateKeeper | undefined): Pick<Handlers, "limits" | "setLimits" | "resetLimits"> {
  const running = (): RateKeeper => {
    if (keeper !== undefined) return keeper;
    throw new Fault("api.daemon-down", "no daemon runs here, so nothing comes or goes", {
      exit: "offline",
      fix: "portolan up",
    });
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
