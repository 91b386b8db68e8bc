export { type CircuitState, Circuits } from "./circuit/circuits.ts";
export type { CarriedCircuit } from "./circuit/gateway.ts";
export { type LinkCost, type LinkTerms, totalOf } from "./link-cost.ts";
export { answerPings, ping } from "./ping.ts";
export { Reach } from "./reach.ts";
export { type Leg, type Route, Router } from "./router.ts";
