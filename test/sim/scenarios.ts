import { CONVERGENCE_SCENARIOS } from "./convergence-scenarios.ts";
import { FLEET_SCENARIOS } from "./fleet-scenarios.ts";
import { GOSSIP_SCENARIOS } from "./gossip-scenarios.ts";
import { ROUTING_SCENARIOS } from "./routing-scenarios.ts";
import type { Scenario } from "./scenario.ts";
import { SCALE_SCENARIOS } from "./scale-scenarios.ts";
import { STABILITY_SCENARIOS } from "./stability-scenarios.ts";
import { SWARM_SCENARIOS } from "./swarm-scenarios.ts";

/** Everything that `npm run sim` knows. A new world adds its list here. */
export const SCENARIOS: readonly Scenario[] = [
  ...SWARM_SCENARIOS,
  ...GOSSIP_SCENARIOS,
  ...ROUTING_SCENARIOS,
  ...STABILITY_SCENARIOS,
  ...CONVERGENCE_SCENARIOS,
  ...SCALE_SCENARIOS,
  ...FLEET_SCENARIOS,
];
