export { type DaemonRequest, type RunningDaemon, startDaemon } from "./daemon.ts";
export { startOffline } from "./offline.ts";
