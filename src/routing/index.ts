export { type LinkCost, type LinkSample, linkCost } from "./link-cost.ts";
