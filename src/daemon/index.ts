export { type DaemonRequest, type RunningDaemon, startDaemon, startOffline } from "./daemon.ts";
