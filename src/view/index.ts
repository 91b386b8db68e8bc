export { openInBrowser } from "./open-in-browser.ts";
export { type RunningView, startView, type ViewDeps } from "./view-server.ts";
