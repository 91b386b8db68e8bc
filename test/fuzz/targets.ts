import type { FuzzTarget } from "./target.ts";
import { ARTIFACT_TARGETS } from "./targets/artifacts.ts";
import { CIRCUIT_TARGETS } from "./targets/circuits.ts";
import { CONTROL_TARGETS } from "./targets/control.ts";
import { CORE_TARGETS } from "./targets/core.ts";
import { DOCUMENT_TARGETS } from "./targets/documents.ts";
import { IDENTITY_TARGETS } from "./targets/identity.ts";
import { JOIN_TARGET } from "./targets/join.ts";
import { MESH_TARGETS } from "./targets/mesh.ts";
import { NAME_TARGETS } from "./targets/names.ts";
import { BORDERS_TARGET, ROUTING_TARGET } from "./targets/routing.ts";
import { SERVICE_TARGETS } from "./targets/services.ts";
import { SESSION_TARGETS } from "./targets/session.ts";
import { SWARM_TARGET } from "./targets/swarm.ts";
import { TUNNEL_TARGETS } from "./targets/tunnel.ts";

/** Every parser that `npm run fuzz` knows. test/unit/fuzz.test.ts fails when a decoder of src is in none. */
export const TARGETS: readonly FuzzTarget[] = [
  ...CORE_TARGETS,
  ...IDENTITY_TARGETS,
  ...DOCUMENT_TARGETS,
  JOIN_TARGET,
  ...MESH_TARGETS,
  ...SESSION_TARGETS,
  ...ARTIFACT_TARGETS,
  SWARM_TARGET,
  ROUTING_TARGET,
  BORDERS_TARGET,
  ...CIRCUIT_TARGETS,
  ...SERVICE_TARGETS,
  ...NAME_TARGETS,
  ...TUNNEL_TARGETS,
  ...CONTROL_TARGETS,
];
