/** Bytes as people read them, in powers of ten: `126.6 MB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return power === 0 ? `${bytes} B` : `${(bytes / 1_000 ** power).toFixed(1)} ${units[power]}`;
}

/** A rate in bits per second as links are sold: `100 Mbit/s`. */
export function formatRate(rateBps: number): string {
  return rateBps >= 1e9 ? `${rateBps / 1e9} Gbit/s` : `${rateBps / 1e6} Mbit/s`;
}
