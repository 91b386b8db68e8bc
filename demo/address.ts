/** First octets of the sites' networks: 127.S.0.0/16 belongs to site S, and Linux lets any process bind all of 127.0.0.0/8. */
export const MAX_SITES = 9;

/** The network of site `site`, counted from 1. */
export function siteCidr(site: number): string {
  return `127.${site}.0.0/16`;
}

/** Where the link of a site listens for its daemons. */
export function linkHost(site: number): string {
  return `127.${site}.0.1`;
}

/** Where the `index`-th node of a site listens, both counted from 1. */
export function nodeHost(site: number, index: number): string {
  return `127.${site}.0.${10 + index}`;
}

/** The site that an IPv4 address belongs to; `undefined` for an address of none (127.0.0.1 is the machine's own). */
export function siteOfHost(host: string): number | undefined {
  const match = /^127\.([1-9])\.\d{1,3}\.\d{1,3}$/u.exec(host);
  return match === null ? undefined : Number(match[1]);
}
