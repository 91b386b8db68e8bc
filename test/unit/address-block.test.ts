import assert from "node:assert/strict";
import { faultCode, VirtualClock } from "#core";
import { admission, claimBlock, type NetworkCards } from "../../src/daemon/address-block.ts";

/** Cards with these addresses. */
const withCards = (...addresses: string[]): NetworkCards =>
  (() => ({ eth0: addresses.map((address) => ({ address })) })) as unknown as NetworkCards;

describe("a block of addresses of a machine's own", () => {
  it("is not taken where a network card has an address in it", async () => {
    const claim = claimBlock("10.77.0.0/16", withCards("192.168.1.7", "10.77.3.4"));
    await assert.rejects(
      claim,
      (error) => faultCode(error) === "daemon.address-block" && /10\.77\.3\.4/u.test(String(error)),
    );
  });

  it("is for its machine, and the networks that were named", () => {
    const clock = new VirtualClock();
    let cards = withCards("192.168.1.7", "fd00::7");
    const admits = admission(
      "10.77.0.0/16",
      ["172.17.0.0/16"],
      () => clock.nowMs(),
      () => cards(),
    );
    for (const address of ["10.77.0.1", "192.168.1.7", "172.17.0.2", "::ffff:172.17.0.2", "fd00::7"])
      assert.equal(admits(address), true, address);
    for (const address of ["192.168.1.8", "172.18.0.2", "8.8.8.8", "fd00::8", "", "nonsense"])
      assert.equal(admits(address), false, address);
  });

  it("learns of new cards within two seconds, and looks no more often", async () => {
    const clock = new VirtualClock();
    let looks = 0;
    let address = "192.168.1.7";
    const cards = (() => {
      looks += 1;
      return withCards(address)();
    }) as NetworkCards;
    const admits = admission("10.77.0.0/16", [], () => clock.nowMs(), cards);
    assert.equal(admits("192.168.1.9"), false);
    address = "192.168.1.9";
    for (let i = 0; i < 100; i++) admits("192.168.1.9");
    assert.equal(looks, 1);
    await clock.advanceMs(2_000);
    assert.equal(admits("192.168.1.9"), true);
  });
});
