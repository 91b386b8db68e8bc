/** Content: the store of a node, and the swarms that move blobs between stores. */
export { type ArtifactContent, firstRoots, planContent } from "./artifact-content.ts";
export { type BringOptions, bringContent, hasContent, rootsOf } from "./bring.ts";
export { type BlobRef, CELL_BYTES, chunkBytesFor } from "./chunk-map.ts";
export { type MaterialiseOptions, materialise } from "./materialise.ts";
export type { FlowLimits } from "./flow-gate.ts";
export type { Progress as ContentProgress } from "./participation.ts";
export type { Holders, Locality, SwarmNet } from "./ports.ts";
export { MemoryNet } from "./memory-net.ts";
export type { Precedence } from "./precedence.ts";
export { type PublishOptions, publishPath } from "./publish.ts";
export type { BlobState } from "./store/blob-table.ts";
export type { Damage as BlobDamage } from "./store/blob-file.ts";
export type { StoreLimits } from "./store/room.ts";
export { type ImportOptions, Store, type StoreDeps, type StoreOptions } from "./store/store.ts";
export { Swarm } from "./swarm/swarm.ts";
export type { Blame, PeerStatus, SwarmEffect, SwarmEvent, SwarmMessage } from "./swarm/swarm-event.ts";
export { ENVOYS } from "./swarm/contacts.ts";
export { leaderWeight } from "./swarm/leaders.ts";
export {
  type FetchOptions,
  startSwarm,
  type SwarmDeps,
  type SwarmService,
  type SwarmServiceOptions,
  type SwarmView,
} from "./swarm-service.ts";
export {
  type ExportedTorrent,
  type ExportOptions,
  exportTorrent,
  type SeedOptions,
  seedTorrent,
} from "./torrent/export-torrent.ts";
export type { ListenAddress } from "./torrent/child-contract.ts";
export { publishTorrent, type TorrentOptions, type TorrentProgress } from "./torrent/publish-torrent.ts";
export { SWARM_PROTOCOL } from "./wire.ts";
