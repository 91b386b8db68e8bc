export { parseNetworks } from "./address.ts";
export type { Gate } from "./gatekeeper.ts";
export type { GateVerdict } from "./hello-exchange.ts";
export type { Carrier, CarrierSecret } from "./carrier.ts";
export {
  type CarriedHost,
  type HandleOptions,
  type OpenOptions,
  type Host,
  type HostDeps,
  type HostOptions,
  type Session,
  type Stranger,
  type StrangerConnection,
  type StrangerHandlerLimits,
} from "./host.ts";
export { type Libp2pBackedHost, startHost } from "./libp2p-host.ts";
export { SiteNeighbours } from "./site-neighbours.ts";
export { Gossip, type GossipHost, type Heard } from "./gossip.ts";
export { MAX_STATEMENT_BYTES, MAX_VALUE_BYTES as MAX_STATEMENT_VALUE_BYTES } from "./statement.ts";
export { DOCUMENTS_PROTOCOL, type Replica, type ReplicaOptions, startReplica } from "./replica.ts";
export type { RememberedPeer } from "./address-book.ts";
export {
  type PeerMemory,
  type Rendezvous,
  type RendezvousDeps,
  type RendezvousOptions,
  startRendezvous,
} from "./rendezvous.ts";
export type { OtherFleet } from "./mdns.ts";
export { type Dht, LazyDht, type Provider } from "./dht.ts";
export { createTlsContext } from "./tls-handshake.ts";
