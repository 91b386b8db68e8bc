export { type EventEntry, EventLog, type EventType } from "./event-log.ts";
