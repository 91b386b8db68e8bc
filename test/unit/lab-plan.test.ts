import { strict as assert } from "node:assert";
import { DEFAULT_LAB, labHosts, lanScript, wanemuArguments, wanScript } from "../../bench/lab/plan.ts";

describe("lab plan", () => {
  it("numbers hosts site by site, with an address in their site's network", () => {
    const hosts = labHosts({ ...DEFAULT_LAB, sites: 2, hostsPerSite: 2 });
    assert.deepEqual(
      hosts.map(({ netns, address }) => `${netns} ${address}`),
      ["h1-1 10.1.0.11", "h1-2 10.1.0.12", "h2-1 10.2.0.11", "h2-2 10.2.0.12"],
    );
  });

  it("refuses sizes that the address plan cannot hold", () => {
    for (const size of [
      { sites: 0 },
      { sites: 201 },
      { hostsPerSite: 0 },
      { hostsPerSite: 1.5 },
      { hostsPerSite: 201 },
    ]) {
      assert.throws(() => labHosts({ ...DEFAULT_LAB, ...size }), RangeError);
    }
  });

  it("shapes each host both ways, and nothing when the rate is 0", () => {
    const shaped = lanScript({ ...DEFAULT_LAB, hostUpBps: 50e6, hostDownBps: 20e6 }).filter((l) => l.startsWith("tc "));
    assert.deepEqual(shaped.slice(0, 2), [
      "tc -n h1-1 qdisc add dev eth0 root tbf rate 50000000bit burst 32k limit 256k",
      "tc -n gw1 qdisc add dev p1 root tbf rate 20000000bit burst 32k limit 256k",
    ]);
    assert.equal(lanScript(DEFAULT_LAB).filter((l) => l.startsWith("tc ")).length, 0);
  });

  it("gives a single site no WAN, and a site behind NAT no route from outside", () => {
    assert.deepEqual(wanScript(DEFAULT_LAB), []);
    const lines = wanScript({ ...DEFAULT_LAB, sites: 2, natSites: [2] });
    assert.ok(lines.includes("ip -n inet route add 10.1.0.0/24 via 172.16.1.2"));
    assert.ok(!lines.some((line) => line.includes("10.2.0.0/24")));
    assert.ok(lines.includes("ip netns exec gw2 iptables -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE"));
  });

  it("leads a forwarded port to its host, and lets in nothing else", () => {
    const forwards = [{ site: 2, index: 3, port: 4001 }];
    const lines = wanScript({ ...DEFAULT_LAB, sites: 3, hostsPerSite: 3, natSites: [2, 3], forwards });
    const led = lines.filter((line) => line.includes("DNAT --to"));
    assert.equal(led.length, 2);
    for (const line of led) assert.match(line, /^ip netns exec gw2 .* --dport 4001 .*10\.2\.0\.13$/u);
    for (const gateway of ["gw2", "gw3"])
      assert.ok(lines.some((line) => line.endsWith("FORWARD -i wan0 -j DROP") && line.includes(gateway)));
  });

  it("hands wanemu whole numbers in its own units", () => {
    const wan = { rateBps: 20e6, delayMs: 7.5, jitterMs: 1, queueBytes: 1000, lossRatio: 0.001 };
    const expected = ["inet", "w3", "gw3", "wan0", "20000000", "7500", "1000", "1000", "1000", "42"];
    assert.deepEqual(wanemuArguments(3, wan, 42), expected);
  });
});
