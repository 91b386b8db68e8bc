import { errorMessage, SystemClock } from "#core";
import { startLink } from "./link.ts";
import { LinkOptions } from "./link-contract.ts";
import { serveControl } from "./link-control.ts";

// One process: the WAN access link of a site. Options as JSON in the first argument; says its port when it runs, and
// stops when its standard input ends, so that it cannot outlive whoever started it.
const clock = new SystemClock();
const options = LinkOptions.parse(JSON.parse(process.argv[2] ?? "{}"));
try {
  const link = await startLink(clock, options);
  await serveControl(clock, link, options.dir, options.site);
  process.stdout.write(`${JSON.stringify({ port: link.port })}\n`);
} catch (error) {
  process.stderr.write(`the WAN link of site ${options.site} cannot start: ${errorMessage(error)}\n`);
  process.exit(1);
}
process.on("SIGINT", () => undefined); // a terminal's Ctrl-C reaches every process; the demo decides when links stop
process.stdin.on("end", () => process.exit(0)).resume();
