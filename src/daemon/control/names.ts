import type { Handlers } from "#api";
import type { MeshNames } from "#routing";

/** Where this node answers names of services. */
export function nameHandlers(names: MeshNames | undefined): Pick<Handlers, "names"> {
  return {
    names: () =>
      Promise.resolve({ ...(names === undefined ? {} : { server: names.server }), ports: names?.ports() ?? [] }),
  };
}
