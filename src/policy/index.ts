export { type EventEntry, EventLog, type EventType } from "./event-log.ts";
export {
  isTimezone,
  MAX_WINDOWS,
  ownTimezone,
  type RateChange,
  type RateOverride,
  type RatePlan,
  type Rates,
  RateSchedule,
  type RateWindow,
} from "./rate-schedule.ts";
export { parseWeekSpan } from "./week-span.ts";
