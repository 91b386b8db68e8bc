import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Handlers } from "#api";
import { Fault } from "#core";
import type { NodeState } from "../node-state.ts";

/** What this node is apart from its fleet: leaving that, a new key, another machine. */
export function machineHandlers(
  state: NodeState,
  shutdown: () => void,
): Pick<Handlers, "leave" | "rekey" | "acceptMachine"> {
  return {
    leave: async () => {
      state.store.forgetFleet();
      for (const name of ["token", "pass", "provisional", "demo", "peers"] as const) state.settings.delete(name);
      state.log.info("left the fleet");
      shutdown();
      return { done: true };
    },
    rekey: async () => {
      const { members, data, settings, store, machine, log } = state;
      if (members.of(data.key.nodeId)?.registrar === true) {
        throw new Fault("daemon.registrar-key", "the owners have signed this registrar's key", {
          exit: "conflict",
          fix: "Let another node take its place first: portolan registrar replace THIS OTHER.",
        });
      }
      if (settings.get("token") === undefined) {
        throw new Fault("daemon.no-token", "this node remembers no token to join with again", {
          exit: "conflict",
          fix: "Leave the fleet, and come back with a token: portolan leave; portolan up --token TOKEN.",
        });
      }
      rmSync(join(data.path, "node.key")); // first: whatever a crash leaves undone, the next start has a new key
      store.forgetFleet();
      settings.delete("provisional");
      machine.accept();
      log.info("the node's key was removed");
      shutdown();
      return { done: true };
    },
    acceptMachine: async () => {
      state.machine.accept();
      return { done: true };
    },
  };
}
