/**
 * Whether all that package-lock.json wants is there in its version, by npm's own record of what it installed
 * (node_modules/.package-lock.json, which npm writes last). Optional packages may be missing: they are for other machines.
 *
 * @param {Record<string, {version?: string, optional?: boolean}>} wanted the `packages` of package-lock.json
 * @param {Record<string, {version?: string}> | undefined} installed the `packages` of npm's record
 * @returns {boolean}
 */
export function isInstalled(wanted, installed) {
  if (installed === undefined) return false;
  return Object.entries(wanted).every(([place, { version, optional }]) => {
    if (place === "") return true; // the project itself
    const there = installed[place];
    return there === undefined ? optional === true : there.version === version;
  });
}
