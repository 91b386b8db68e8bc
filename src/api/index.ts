export {
  type CallHandler,
  type Handlers,
  RESOURCE_NAMES,
  type ResourceHandler,
  type ResourceName,
  type Resources,
} from "./handlers.ts";
export * from "./messages.ts";
export type { InputOf, Route } from "./route.ts";
export { type RouteName, ROUTES, type Routes } from "./routes.ts";
export { matchesSelector, parseSelector, type Selector } from "./selector.ts";
export * from "./views.ts";
export { fromWireFault, STATUS_OF_EXIT, toWireFault } from "./wire-fault.ts";
