import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import type { Status } from "#api";
import { decodeToken, encodeToken } from "#identity";
import { Yard, type YardNode } from "../support/yard.ts";

/** A device and its registrar name cause and next command within 5 s (on an idle machine; a busy one gets three times that). */
const NAMED_MS = 15_000;
const SET_CLOCK = import.meta.resolve("../support/set-clock.mjs");

describe("a device that cannot join", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let token: string;

  before(async () => {
    ({ yard, hub, token } = await Yard.withFleet());
  });
  after(() => yard[Symbol.asyncDispose]());

  /** Waits for the device to name what is in its way, and checks that its status, doctor and log do. */
  async function untilNamed(device: YardNode, code: string): Promise<NonNullable<Status["join"]>> {
    const startMs = yard.clock.nowMs();
    const named = await yard
      .until(
        `${device.name} to name ${code}`,
        async () => {
          const { join: why } = await device.status();
          return why?.code === code && why;
        },
        NAMED_MS,
      )
      .catch(async () => assert.fail(`it says ${JSON.stringify((await device.status()).join)}\n${device.log}`));
    console.log(`      ${code} named after ${Math.round(yard.clock.nowMs() - startMs)} ms`);
    assert.notEqual(named.next, "");
    const doctor = await device.run("doctor");
    assert.match(doctor.out, new RegExp(`joining: .*\\(${code}\\)\n +try: \\S`, "u"));
    assert.match(device.log, new RegExp(`code=${code.replaceAll(".", "\\.")} reason=.* next=`, "u"));
    return named;
  }

  it("whose serial nobody claimed: both ends say so, and how to let it in", async () => {
    const cam = yard.node("unclaimed");
    await cam.up("--token", token, "--serial", "CAM-9");
    const { reason, next } = await untilNamed(cam, "identity.unclaimed");
    assert.match(`${reason} ${next}`, /CAM-9.*portolan approve/su);
    const seen = await hub.untilSees("CAM-9", "pending");
    assert.match(seen.reason ?? "", /CAM-9/u);
    await hub.untilEvent(({ type, message }) => type === "node.pending" && message.includes("CAM-9"), "the device");
    assert.match(await hub.ok("get", "nodes"), /pending +.*CAM-9/u);
  });

  it("whose clock is wrong: both ends say by how much, and doctor how to set it", async () => {
    const cam = yard.node("late");
    const env = { NODE_OPTIONS: `--import ${SET_CLOCK}`, CLOCK_OFF_MS: String(-3 * 365 * 86_400_000) };
    await cam.upWith({ env }, "--token", token, "--serial", "CAM-LATE");
    const { reason, next } = await untilNamed(cam, "identity.clock");
    assert.match(`${reason} ${next}`, /1095 days behind.*timedatectl/su);
    await hub.untilEvent(
      ({ message }) => message.includes("identity.clock") && message.includes("1095 days"),
      "the clock",
    );
  });

  it("whose token is of another fleet than the one at its address: both ends say so", async () => {
    const other = yard.node("other");
    await other.ok("fleet", "create", "elsewhere", "--demo");
    const theirs = decodeToken(await other.ok("token"), { nowMs: yard.clock.wallMs() });
    const { rendezvous } = decodeToken(token, { nowMs: yard.clock.wallMs() });
    const cam = yard.node("lost");
    await cam.up("--token", encodeToken({ ...theirs, rendezvous }));
    const { reason } = await untilNamed(cam, "identity.wrong-fleet");
    assert.match(reason, new RegExp(theirs.fleet.slice(0, 12), "u"));
    await hub.untilEvent(({ message }) => message.includes("identity.wrong-fleet"), "the wrong fleet");
  });

  it("when nobody listens at the token's address, or somebody who never answers", async () => {
    const silent = createServer();
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    const real = decodeToken(token, { nowMs: yard.clock.wallMs() });
    const at = (p: number): string => encodeToken({ ...real, rendezvous: [`/ip4/127.0.0.1/tcp/${p}/tls`] });
    const [closed, mute] = [yard.node("closed"), yard.node("mute")];
    await Promise.all([closed.up("--token", at(1)), mute.up("--token", at(port))]);
    assert.match((await untilNamed(closed, "daemon.unreachable")).reason, /127\.0\.0\.1\/tcp\/1/u);
    const { reason, next } = await untilNamed(mute, "daemon.unreachable");
    assert.match(`${reason} ${next}`, new RegExp(`tcp/${port}.*firewall`, "su"));
    silent.close();
  });

  it("gets in by itself once the cause is gone", async () => {
    const cam = yard.node("unclaimed");
    await hub.ok("admit", "-f", yard.write("claims.csv", "serial,model,key,tenant,labels,expires\nCAM-9,,,,,\n"));
    await cam.until("member");
    await hub.untilSees("CAM-9", "connected");
  });
});
