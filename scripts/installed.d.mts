type Packages = Readonly<Record<string, { version?: string; optional?: boolean }>>;

/**
 * Whether all that package-lock.json wants (`wanted`: its `packages`) is there in its version, by npm's own record of what it
 * installed (`installed`: the `packages` of node_modules/.package-lock.json, which npm writes last). Optional packages may be
 * missing: they are for other machines.
 */
export function isInstalled(wanted: Packages, installed: Packages | undefined): boolean;
