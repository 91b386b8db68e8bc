import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { errorMessage, Fault, type Random } from "#core";
import { loadNodeKey, type NodeKey, openStateDatabase } from "#identity";

/** Version of the layout below. A directory of a newer version is left alone. */
const FORMAT = 1;

/** A node's own folder, held by this process alone. */
export type DataDirectory = {
  path: string;
  db: DatabaseSync;
  key: NodeKey;
  /** Folder of the artifact store. */
  storePath: string;
  /** Lets go of the folder. */
  release(): void;
};

/**
 * Opens a data directory, making it at first use, and locks it.
 *
 * Throws Fault `daemon.data-directory` (invalid; not a folder, not writable), `daemon.data-newer` (invalid), `daemon.data-in-use` (conflict).
 */
export function openDataDirectory(path: string, random: Random): DataDirectory {
  try {
    makeFolders(path);
    chmodSync(path, 0o700);
  } catch (error) {
    throw new Fault("daemon.data-directory", `cannot use ${path} as data directory: ${errorMessage(error)}`, {
      exit: "invalid",
      fix: "Give a folder that this user may write with --data DIR.",
      cause: error,
    });
  }
  checkFormat(path);
  const unlock = lock(path);
  try {
    const key = loadNodeKey(join(path, "node.key"), random);
    const db = openStateDatabase(makePrivate(join(path, "state.db")));
    const release = (): void => {
      db.close();
      unlock();
    };
    return { path, db, key, storePath: join(path, "store"), release };
  } catch (error) {
    unlock();
    throw error;
  }
}

/** One folder at a time: Node's recursive `mkdir` never returns where the system says that the parent does not exist, as under /proc. */
function makeFolders(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return;
  if (found !== undefined) throw new Error(`${path} is not a folder`);
  makeFolders(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}

function checkFormat(path: string): void {
  const file = join(path, "format");
  if (!existsSync(file)) {
    writeFileSync(file, `${FORMAT}\n`, { mode: 0o600 });
    return;
  }
  const format = Number.parseInt(readFileSync(file, "utf8"), 10);
  if (format > FORMAT) {
    throw new Fault(
      "daemon.data-newer",
      `${path} was written by a newer version (format ${format}; this one knows ${FORMAT})`,
      {
        exit: "invalid",
        fix: "Upgrade this node, or give another folder with --data DIR.",
      },
    );
  }
  if (format !== FORMAT) {
    throw new Fault("daemon.data-directory", `${file} does not hold a format number`, {
      exit: "invalid",
      fix: `If this folder belongs to portolan, write ${FORMAT} into that file; else give another folder with --data DIR.`,
    });
  }
}

/** SQLite would make its files, and those beside them, as open as the umask allows. */
function makePrivate(file: string): string {
  closeSync(openSync(file, "a", 0o600));
  return file;
}

/** An SQLite write lock: the system lets go of it when the process dies, however it dies. */
function lock(path: string): () => void {
  const db = new DatabaseSync(makePrivate(join(path, "lock")), { timeout: 0 });
  try {
    db.exec("PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    db.close();
    throw new Fault("daemon.data-in-use", `another portolan process is using ${path}`, {
      exit: "conflict",
      fix: "`portolan status` shows it; to run a second node on this machine give it --data DIR of its own.",
      cause: error,
    });
  }
  return () => db.close();
}

/** Small facts that a node keeps about itself between runs, as text. */
export class Settings {
  readonly #db: DatabaseSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
    db.exec("CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT");
  }

  get(name: SettingName): string | undefined {
    return this.#db.prepare("SELECT value FROM settings WHERE name = ?").get(name)?.value as string | undefined;
  }

  set(name: SettingName, value: string): void {
    this.#db.prepare("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)").run(name, value);
  }

  delete(name: SettingName): void {
    this.#db.prepare("DELETE FROM settings WHERE name = ?").run(name);
  }
}

export type SettingName =
  | "token"
  | "pass"
  | "provisional"
  | "site"
  | "serial"
  | "model"
  | "labels"
  | "demo"
  | "name"
  | "peers"
  | "addresses"
  | "boot"
  | "machine"
  | "limits";
