import { statfs } from "node:fs/promises";
import { Fault } from "#core";

const MIB = 1024 ** 2;

/** Share of the disk that a store takes unless it is told otherwise. */
const QUOTA_RATIO = 0.8;
/** Left free for everything else on the disk, the database, logs and the system, unless it is told otherwise: this share of it, */
const RESERVE_RATIO = 0.05;
/** and never less: a database and a log need it on the smallest disk, */
const MIN_RESERVE_BYTES = 64 * MIB;
/** nor more: on a large disk 5 % would be wasted. */
const MAX_RESERVE_BYTES = 2048 * MIB;

/** What a store may take of its disk. */
export type StoreLimits = {
  /** Content in the store's own files. Default: 80 % of the disk. */
  quotaBytes?: number | undefined;
  /** Left free on the disk, whatever the quota says. Default: 5 % of it, at least 64 MiB and at most 2 GiB. */
  reserveBytes?: number | undefined;
};

/** What the disk under the store looks like. */
export type Disk = { sizeBytes: number; freeBytes: number };

/** What the store has taken and has promised, in bytes. */
export type Holdings = {
  /** Of content, in its own files. */
  usedBytes: number;
  /** Still to come of what is on its way, or about to be. */
  dueBytes: number;
};

/** How much room a store has. */
export type StoreRoom = Holdings & {
  /** What it may hold: the quota, or less when the disk does not have that much. */
  limitBytes: number;
  limitedBy: "quota" | "disk";
  /** For content that is not promised room yet; 0 when there is none. */
  roomBytes: number;
  freeBytes: number;
};

/** The room that is left under both limits. */
export function roomOf(disk: Disk, { usedBytes, dueBytes }: Holdings, limits: StoreLimits): StoreRoom {
  const quotaBytes = limits.quotaBytes ?? Math.floor(disk.sizeBytes * QUOTA_RATIO);
  const ownReserve = Math.min(Math.max(disk.sizeBytes * RESERVE_RATIO, MIN_RESERVE_BYTES), MAX_RESERVE_BYTES);
  const onDisk = Math.max(0, usedBytes + disk.freeBytes - Math.floor(limits.reserveBytes ?? ownReserve));
  const limitBytes = Math.min(quotaBytes, onDisk);
  return {
    usedBytes,
    dueBytes,
    limitBytes,
    limitedBy: onDisk < quotaBytes ? "disk" : "quota",
    roomBytes: Math.max(0, limitBytes - usedBytes - dueBytes),
    freeBytes: disk.freeBytes,
  };
}

export async function diskOf(folder: string): Promise<Disk> {
  const { bavail, blocks, bsize } = await statfs(folder);
  return { sizeBytes: blocks * bsize, freeBytes: bavail * bsize };
}

/** Fault `artifacts.no-room` (exit `conflict`): something would not fit, and was not begun. */
export function noRoom(what: string, folder: string, neededBytes: number, room: StoreRoom): Fault {
  const { roomBytes, limitBytes, limitedBy } = room;
  const why =
    limitedBy === "quota"
      ? `of its quota of ${mib(limitBytes)} the store has ${mib(roomBytes)} left`
      : `the disk of ${folder} has ${mib(roomBytes)} left for the store, beside its reserve`;
  return new Fault("artifacts.no-room", `${what} needs ${mib(neededBytes)}, and ${why}; nothing was begun`, {
    exit: "conflict",
    fix:
      limitedBy === "quota"
        ? "Unpin or delete what is not needed (`portolan prune --dry-run` shows why each stays), or raise store.quotaBytes."
        : "Make room on the disk; `portolan prune --dry-run` shows what the store can spare and why the rest stays.",
    details: { neededBytes, roomBytes, limitBytes, limitedBy },
  });
}

/** Throws Fault `artifacts.no-room` unless `neededBytes` fit into a folder outside of the store. */
export async function requireSpace(folder: string, neededBytes: number, what: string): Promise<void> {
  const disk = await diskOf(folder);
  const room = roomOf(
    disk,
    { usedBytes: 0, dueBytes: 0 },
    { quotaBytes: disk.sizeBytes, reserveBytes: MIN_RESERVE_BYTES },
  );
  if (neededBytes > room.roomBytes) throw noRoom(what, folder, neededBytes, { ...room, limitedBy: "disk" });
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / MIB)} MiB`;
}
