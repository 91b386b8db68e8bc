export { type CliDeps, type Io, type RunningDaemon, type UpRequest } from "./io.ts";
export { runCli } from "./run.ts";
export { terminalIo } from "./terminal.ts";
