import type { EventView, ResourceHandler } from "#api";
import type { EventEntry } from "#policy";
import type { NodeState } from "../node-state.ts";

/** Events in one list. */
const MAX_LISTED = 1_000;

/** What happened on this node. */
export function eventHandlers({ events }: NodeState): { events: ResourceHandler<"events"> } {
  return {
    events: {
      list: async () => events.list(MAX_LISTED).map(eventView),
      get: async (name) => {
        const entry = events.list().find(({ seq }) => String(seq) === name);
        return entry === undefined ? undefined : eventView(entry);
      },
      onChange: (listener) => events.onEvent(listener),
    },
  };
}

function eventView(entry: EventEntry): EventView {
  const { seq, timeMs, type, subject, actor, outcome, message } = entry;
  return {
    name: String(seq),
    labels: {},
    time: new Date(timeMs).toISOString(),
    type,
    subject,
    ...(actor === undefined ? {} : { actor }),
    outcome,
    message,
  };
}
