/** See installed.d.mts; plain JavaScript, because it runs before the Node.js that strips types is there. */
export function isInstalled(wanted, installed) {
  if (installed === undefined) return false;
  return Object.entries(wanted).every(([place, { version, optional }]) => {
    if (place === "") return true; // the project itself
    const there = installed[place];
    return there === undefined ? optional === true : there.version === version;
  });
}
