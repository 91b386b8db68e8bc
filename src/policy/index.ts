export { EVENT_TYPES, type EventEntry, EventLog, type EventType } from "./event-log.ts";
