/** Rates in bits per second of a host's link, each way. */
export type HostRates = { upBps: number; downBps: number };

/**
 * Least seconds in which one seed can bring `sizeBytes` to `leechers` hosts that pass on what they get, by the fluid bound
 * max(F/u_s, F/d_min, N·F/(u_s + Σu_i)) (Kumar and Ross, "Peer-assisted file distribution: the minimum distribution time",
 * 2006). Headers and slow start are not in it. All hosts have the same rates.
 */
export function fanOutSeconds(sizeBytes: number, leechers: number, { upBps, downBps }: HostRates): number {
  const bits = sizeBytes * 8;
  return Math.max(bits / upBps, bits / downBps, (leechers * bits) / (upBps + leechers * upBps));
}

/**
 * Least seconds in which a file crosses a site's WAN link once: no site can be faster, and one copy per site is enough
 * when the sites' own links are faster and the first site's link can pass one copy to each other site.
 *
 * Each link carries a copy in or, at the first site, `sites - 1` copies out unless others pass it on: with equal links and
 * the pieces spread, the sites' uplinks together carry `sites - 1` copies, which is the fan-out bound among sites.
 */
export function wanSeconds(sizeBytes: number, sites: number, wanBps: number): number {
  return fanOutSeconds(sizeBytes, sites - 1, { upBps: wanBps, downBps: wanBps });
}

/** The same where only the first site can be reached, so that its uplink carries a copy for each other site. */
export function exportSeconds(sizeBytes: number, sites: number, wanBps: number): number {
  return ((sites - 1) * sizeBytes * 8) / wanBps;
}
