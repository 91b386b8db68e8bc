// Loaded into a daemon with `node --import`: a machine whose clock is wrong by CLOCK_OFF_MS milliseconds, and for which
// the time in CLOCK_FILE ({"wallOffMs", "uptimeOffMs"}, read anew when it changes) has gone by besides.
import { readFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import os from "node:os";

const LOOK_MS = 50;
const now = Date.now;
const { uptime } = os;
let off = { wallOffMs: Number(process.env.CLOCK_OFF_MS ?? 0), uptimeOffMs: 0 };
let lookedMs = 0;

function look() {
  const file = process.env.CLOCK_FILE;
  if (file === undefined || now() - lookedMs < LOOK_MS) return off;
  lookedMs = now();
  off = JSON.parse(readFileSync(file, "utf8"));
  return off;
}

Date.now = () => now() + look().wallOffMs;
os.uptime = () => uptime() + look().uptimeOffMs / 1_000;
syncBuiltinESMExports();
