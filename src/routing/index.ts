export { type LinkCost, type LinkTerms, totalOf } from "./link-cost.ts";
export { type Leg, type Route, Router } from "./router.ts";
