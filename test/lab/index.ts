export { Child, type ChildOptions, run } from "./child.ts";
export { type DeviceCounters, type Lab, startLab, type WanCounters } from "./lab.ts";
export { labNeeds, onPath } from "./needs.ts";
export { DEFAULT_LAB, gatewayOf, type LabHost, type LabOptions, type WanOptions } from "./plan.ts";
