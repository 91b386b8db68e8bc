import { createInterface } from "node:readline";
import { rmSync } from "node:fs";
import { SystemClock } from "#core";

// One process that outlives the demo by a moment: it reads which processes run (`+PID`, `-PID`, one a line) and, when its
// standard input ends, stops those that are left and removes the folder it was given. So nothing of the demo stays behind,
// not even when the demo is killed with kill -9.

/** From SIGTERM to SIGKILL: a daemon writes what it must and closes its connections. */
const GRACE_MS = 5_000;
const POLL_MS = 50;

const clock = new SystemClock();
const running = new Set<number>();

/** Whether `pid` got `signal`, 0 asking only whether it is there. */
function signal(pid: number, name: string | number): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false; // it has ended
  }
}

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => undefined); // the end of input is the signal
for await (const line of createInterface(process.stdin)) {
  const pid = Number(line.slice(1));
  if (line.startsWith("+")) running.add(pid);
  else running.delete(pid);
}
for (const pid of running) signal(pid, "SIGTERM");
const endMs = clock.nowMs() + GRACE_MS;
while (clock.nowMs() < endMs && [...running].some((pid) => signal(pid, 0))) await clock.sleep(POLL_MS);
for (const pid of running) signal(pid, "SIGKILL");
const folder = process.argv[2];
if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
