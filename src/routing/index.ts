export { type LinkCost, type LinkTerms, totalOf } from "./link-cost.ts";
export { type Leg, type Route, Router } from "./router.ts";
export type { ListenAddress } from "./tunnel/listen-address.ts";
export type { Choose, Instance, MayExpose, MayReach, OpenStream, Target, TargetOf } from "./tunnel/ports.ts";
export { MAX_TUNNELS_OF_PEER, TunnelHost, type TunnelHostDeps } from "./tunnel/tunnel-host.ts";
export { type Listener, type ListenerCounts, type ListenerDeps, listenTcp } from "./tunnel/tunnel-listener.ts";
export { TunnelOpener, type TunnelOpenerDeps } from "./tunnel/tunnel-opener.ts";
export { listenUdp } from "./tunnel/udp-listener.ts";
