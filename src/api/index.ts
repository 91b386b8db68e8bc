export {
  type CallName,
  type CallOptions,
  ControlClient,
  type JobName,
  type WatchName,
} from "./client.ts";
export * from "./fleet-map.ts";
export {
  type Handlers,
  type OperationHandler,
  type OperationName,
  RESOURCE_NAMES,
  type ResourceHandler,
  type ResourceName,
  type Resources,
} from "./handlers.ts";
export * from "./messages.ts";
export { parseRate, RATE_GRAMMAR } from "./rate.ts";
export type { CallerInputOf, EventOf, InputOf, OutputOf, ProgressOf, Route } from "./route.ts";
export { MAX_LIST, type RouteName, ROUTES, type Routes } from "./routes.ts";
export * from "./services.ts";
export { matchesSelector, parseSelector, type Selector } from "./selector.ts";
export * from "./topology.ts";
export * from "./views.ts";
export { STATUS_OF_EXIT, toWireFault } from "./wire-fault.ts";
export { encodeEvent, EventParser, type ServerEvent } from "./sse.ts";
export { findSocket, MAX_SOCKET_PATH_BYTES, SOCKET_NAME, socketNotePath } from "./socket-path.ts";
export { openApiDocument } from "./openapi.ts";
