export { type LinkCost, type LinkTerms, totalOf } from "./link-cost.ts";
export { type Leg, type Route, Router } from "./router.ts";
export { type Candidate, type Choice, chooseInstances, type Strategy } from "./service/choose-instances.ts";
export { DEFAULT_EXPOSE, type MayExpose, resolveTarget } from "./service/expose.ts";
export type { Instance, Protocol } from "./service/service.ts";
export type { PublishedServices } from "./service/published-services.ts";
export type { KnownInstance, ServiceDirectory } from "./service/service-directory.ts";
export { ServiceLookup } from "./service/service-lookup.ts";
export { Services } from "./service/services.ts";
