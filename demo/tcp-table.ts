/** One row of /proc/net/tcp or tcp6 (Documentation/networking/proc_net_tcp.rst). */
export type TcpRow = { local: string; remote: string; established: boolean; inode: number };

/** `01` is TCP_ESTABLISHED (include/net/tcp_states.h). */
const ESTABLISHED = "01";

/** Reads /proc/net/tcp or tcp6; lines that are not rows are left out. IPv4-mapped IPv6 addresses read as IPv4. */
export function parseTcpTable(text: string): TcpRow[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*\d+: ([0-9A-F]+:[0-9A-F]{4}) ([0-9A-F]+:[0-9A-F]{4}) ([0-9A-F]{2}) (?:\S+ +){5}(\d+)/u.exec(
      line,
    );
    if (match === null) return [];
    const [, local = "", remote = "", state, inode] = match;
    return [
      { local: endpoint(local), remote: endpoint(remote), established: state === ESTABLISHED, inode: Number(inode) },
    ];
  });
}

/** The kernel prints each 32-bit word of an address in the machine's byte order, which is little-endian wherever this runs. */
function endpoint(hex: string): string {
  const [words = "", port = ""] = hex.split(":");
  const bytes = (words.match(/.{8}/gu) ?? []).flatMap((word) => [...Buffer.from(word, "hex")].toReversed());
  const mapped = bytes.length === 16 && bytes.slice(0, 12).join() === "0,0,0,0,0,0,0,0,0,0,255,255";
  const host = bytes.length === 4 || mapped ? bytes.slice(-4).join(".") : Buffer.from(bytes).toString("hex");
  return `${host}:${Number.parseInt(port, 16)}`;
}

/** A connection of a site's process that is not with a process of the same site. `peerSite` is `undefined` for a process of none. */
export type Bypass = { site: number; peerSite: number | undefined; local: string; remote: string };

/** What the kernel shows of a connection that nobody has accepted yet: who listens may be too busy to for a while. */
const NO_INODE = 0;

/**
 * Finds the established connections that go round the links: both ends of every connection of the fleet must belong to
 * processes of one site, a site's link being one of them. `owners` says which site has the socket of an inode. One that waits to be accepted counts
 * once it is.
 */
export function findBypasses(rows: readonly TcpRow[], owners: ReadonlyMap<number, number>): Bypass[] {
  const byEnds = new Map(rows.map((row) => [`${row.local} ${row.remote}`, row]));
  return rows.flatMap(({ local, remote, established, inode }) => {
    const site = owners.get(inode);
    if (!established || site === undefined) return [];
    const peer = byEnds.get(`${remote} ${local}`);
    if (peer?.inode === NO_INODE) return [];
    const peerSite = peer === undefined ? undefined : owners.get(peer.inode);
    return peerSite === site ? [] : [{ site, peerSite, local, remote }];
  });
}
