export { Child, type ChildOptions, run } from "./child.ts";
export { Graph, type GraphLink, type LinkFault } from "./graph.ts";
export { type DeviceCounters, type Lab, startLab, type WanCounters } from "./lab.ts";
export { labNeeds, onPath } from "./needs.ts";
export { gatewayOf, type LabHost, type LabOptions, outsideOf, type WanOptions } from "./plan.ts";
