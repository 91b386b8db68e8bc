import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { changedMachine, type MachineFacts, MachinePrint, printMachine } from "#identity";
import type { NodeState } from "./node-state.ts";

/** MAC address of an interface that has none. */
const NO_MAC = "00:00:00:00:00:00";

/** Whether the data directory is still on the machine that it was on; `changed` names what differs. */
export type MachineCheck = { changed: string[]; accept(): void };

/** Compares this machine with the one that the data directory was on; at the first start remembers it. */
export function checkMachine(
  { settings, data }: Pick<NodeState, "settings" | "data">,
  facts = machineFacts(),
): MachineCheck {
  const now = printMachine(facts, data.key.nodeId);
  const known = settings.get("machine");
  const before = known === undefined ? undefined : MachinePrint.safeParse(JSON.parse(known)).data;
  const check: MachineCheck = {
    changed: before === undefined ? [] : changedMachine(before, now),
    accept() {
      settings.set("machine", JSON.stringify(now));
      check.changed = [];
    },
  };
  if (before === undefined) check.accept();
  return check;
}

function machineFacts(): MachineFacts {
  const [machineId, dmiUuid] = [read("/etc/machine-id"), read("/sys/class/dmi/id/product_uuid")];
  const macs = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ mac }) => mac));
  return {
    ...(machineId === undefined ? {} : { machineId }),
    ...(dmiUuid === undefined ? {} : { dmiUuid }),
    macs: macs.filter((mac) => mac !== NO_MAC),
  };
}

/** `undefined` where there is none, or only root may read it. */
function read(path: string): string | undefined {
  try {
    const text = readFileSync(path, "utf8").trim();
    return text === "" ? undefined : text;
  } catch {
    return undefined;
  }
}
