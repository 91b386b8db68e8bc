import type { Host } from "#mesh";

/** A host over which nothing is heard of what neighbours say by themselves; streams and connections are as they were. */
export function deafHost(host: Host): Host {
  const deaf: Partial<Host> = { sessions: () => [], onSession: () => () => undefined, onMessage: () => undefined };
  return new Proxy(host, {
    get: (target, name) => {
      const value: unknown = Reflect.get(deaf, name) ?? Reflect.get(target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
