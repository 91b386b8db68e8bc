import { isDeepStrictEqual } from "node:util";
import {
  matchesSelector,
  parseSelector,
  type ResourceHandler,
  type ResourceName,
  type ServerEvent,
  toWireFault,
} from "#api";
import { type Clock, Fault } from "#core";

/** Shortest time between two progress events: ten a second look smooth. */
const PROGRESS_MS = 100;
/** Shortest time between two looks at a watched list. */
const WATCH_MS = 200;

/** Wakes one waiter; a wake that comes before the wait is kept. */
class Bell {
  #rung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Resolves at the next ring, at once if it has rung since the last wait. */
  async rung(): Promise<void> {
    if (!this.#rung) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#rung = false;
    this.#wake = undefined;
  }
}

/**
 * Runs a job and tells of it: `progress` with the latest state at most every 100 ms, then `result` or `fault`. A reader
 * that is slow sees fewer states, never a longer queue.
 */
export async function* jobEvents(
  clock: Clock,
  run: (progress: (event: unknown) => void) => Promise<unknown>,
): AsyncGenerator<ServerEvent, void, void> {
  const bell = new Bell();
  let latest: ServerEvent | undefined;
  let outcome: ServerEvent | undefined;
  const finish = (event: ServerEvent): void => {
    outcome = event;
    done.abort();
    bell.ring();
  };
  const done = new AbortController();
  run((data) => {
    latest = { event: "progress", data };
    bell.ring();
  }).then(
    (data) => finish({ event: "result", data }),
    (error: unknown) => finish({ event: "fault", data: toWireFault(error) }),
  );
  for (;;) {
    await bell.rung();
    if (latest !== undefined) yield latest;
    latest = undefined;
    if (outcome !== undefined) break;
    await clock.sleep(PROGRESS_MS, done.signal).catch(() => undefined); // woken by the outcome
  }
  yield outcome;
}

/** Labels by which `-l` selects: the object's own, and the plain text fields that people expect among them, which win. */
export function selectableLabels(view: { name: string; labels: Record<string, string> }): Record<string, string> {
  const all: Record<string, string> = {};
  for (const key of ["name", "site", "tenant", "kind", "state", "type", "serial"]) {
    const value: unknown = Reflect.get(view, key);
    if (typeof value === "string") all[key] = value;
  }
  return { ...view.labels, ...all };
}

/** The list that a selector leaves. Throws Fault `api.selector`. */
export async function selectFrom<N extends ResourceName>(
  handler: ResourceHandler<N>,
  selector: string,
): Promise<{ name: string; labels: Record<string, string> }[]> {
  const parsed = parseSelector(selector);
  const all = await handler.list();
  return all.filter((view) => matchesSelector(parsed, selectableLabels(view)));
}

/**
 * Follows a list, or the details of one object: first everything there is as `added` and one `synced`, then changes until
 * the signal fires. Changes are found by comparing, at most every 200 ms, so a burst is one change.
 */
export async function* watchEvents<N extends ResourceName>(
  clock: Clock,
  handler: ResourceHandler<N>,
  query: { selector: string; name?: string | undefined },
  signal: AbortSignal,
): AsyncGenerator<ServerEvent, void, void> {
  const bell = new Bell();
  const stopListening = handler.onChange(() => bell.ring());
  const onAbort = (): void => bell.ring();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    let known = new Map<string, object>();
    for (let first = true; !signal.aborted; first = false) {
      const now = await look(handler, query);
      yield* differences(known, now);
      if (first) yield change({ type: "synced" });
      known = now;
      await clock.sleep(WATCH_MS, signal).catch(() => undefined);
      await bell.rung();
    }
  } catch (error) {
    yield { event: "fault", data: toWireFault(error) };
  } finally {
    stopListening();
    signal.removeEventListener("abort", onAbort);
  }
}

async function look<N extends ResourceName>(
  handler: ResourceHandler<N>,
  { selector, name }: { selector: string; name?: string | undefined },
): Promise<Map<string, object>> {
  if (name === undefined) return new Map((await selectFrom(handler, selector)).map((view) => [view.name, view]));
  const detail = await handler.get(name);
  return new Map(detail === undefined ? [] : [[detail.name, detail]]);
}

function* differences(before: ReadonlyMap<string, object>, now: ReadonlyMap<string, object>): Generator<ServerEvent> {
  for (const [name, object] of now) {
    const old = before.get(name);
    if (old === undefined) yield change({ type: "added", object });
    else if (!isDeepStrictEqual(old, object)) yield change({ type: "modified", object });
  }
  for (const name of before.keys()) if (!now.has(name)) yield change({ type: "deleted", name });
}

function change(data: object): ServerEvent {
  return { event: "change", data };
}

/** Fault `api.no-such` (exit `missing`). */
export function noSuch(resource: ResourceName, name: string): Fault {
  const message =
    resource === "pending"
      ? `no document ${name} waits for signatures`
      : `there is no ${resource.slice(0, -1)} "${name}"`;
  return new Fault("api.no-such", message, { exit: "missing", fix: `see what there is: portolan get ${resource}` });
}
