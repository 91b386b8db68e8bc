import { z } from "zod";
import { FleetMap } from "./fleet-map.ts";
import * as m from "./messages.ts";
import { call, job, type Route, watch } from "./route.ts";
import * as s from "./services.ts";
import * as t from "./topology.ts";
import * as v from "./views.ts";

/** Objects in one list; a longer list is cut, newest or alphabetically first kept, and says so by `truncated`. */
export const MAX_LIST = 10_000;

const ListQuery = z.strictObject({ selector: z.string().max(1_000).default("") });
const WatchQuery = ListQuery.extend({ name: z.string().max(256).optional() });
const NameParam = z.object({ name: z.string().min(1).max(256) });
const Done = z.object({ done: z.literal(true) });

function list<V extends z.ZodType>(plural: string, view: V) {
  const Page = z.object({ items: z.array(view), truncated: z.boolean() });
  return call("GET", `/v1/${plural}`, `Lists ${plural} that the selector matches.`, { query: ListQuery }, Page);
}

function get<V extends z.ZodType>(plural: string, detail: V) {
  return call("GET", `/v1/${plural}/{name}`, `Shows one of the ${plural}.`, { params: NameParam }, detail);
}

function changes<V extends z.ZodType>(plural: string, view: V) {
  const Change = z.discriminatedUnion("type", [
    z.object({ type: z.enum(["added", "modified"]), object: view }),
    z.object({ type: z.literal("deleted"), name: z.string() }),
    z.object({ type: z.literal("synced") }),
  ]);
  return watch(
    `/v1/watch/${plural}`,
    `Follows ${plural}; with a name, the details of one.`,
    { query: WatchQuery },
    Change,
  );
}

/** The whole control API: the server mounts it, the client is typed by it, `GET /openapi.json` is made from it. */
export const ROUTES = {
  status: call("GET", "/v1/status", "This node's state.", {}, m.Status),
  identity: call("GET", "/v1/id", "What an operator needs to claim or approve this node.", {}, m.Identity),
  doctor: call("GET", "/v1/doctor", "Looks for what is wrong.", {}, z.object({ findings: z.array(m.Finding) })),
  token: call("GET", "/v1/token", "The bootstrap token to hand to new nodes.", {}, v.TokenView),

  createFleet: call(
    "POST",
    "/v1/fleet",
    "Drafts a fleet's charter and this node's Registrar document, as pending documents.",
    { body: m.CreateFleet },
    z.object({ fleet: z.string(), pending: z.array(v.PendingView) }),
  ),
  draft: call("POST", "/v1/drafts", "Fills in a body for the caller to sign.", { body: m.NewDraft }, m.Draft),
  submit: call(
    "POST",
    "/v1/documents",
    "Hands over an envelope; it counts at once or waits for more signatures.",
    { body: z.strictObject({ envelope: z.string().max(m.MAX_BODY_BYTES) }) },
    m.Verdict,
  ),
  previewTopology: call(
    "POST",
    "/v1/topology/preview",
    "Says which ways a topology would change, and whom it would cut off.",
    { body: t.PreviewTopology },
    t.TopologyPreview,
  ),
  reject: call(
    "DELETE",
    "/v1/pending/{name}",
    "Drops a document that waits for signatures.",
    { params: NameParam },
    Done,
  ),

  publish: job(
    "/v1/publish",
    "Reads a path into the store and drafts its Artifact document.",
    { body: m.Publish },
    m.PublishProgress,
    m.Published,
  ),
  publishTorrent: job(
    "/v1/torrents",
    "Fetches a torrent from BitTorrent peers into the store and drafts its Artifact document.",
    { body: m.PublishTorrent },
    m.PublishTorrentProgress,
    m.Published,
  ),
  exportTorrent: job(
    "/v1/artifacts/{name}/torrent",
    "Makes a torrent of an artifact, and serves it to BitTorrent clients until cancelled.",
    { params: NameParam, body: m.ExportTorrent },
    m.ExportTorrentProgress,
    m.ExportedTorrent,
  ),
  fetch: job(
    "/v1/artifacts/{name}/fetch",
    "Brings an artifact to this node, and to a path.",
    { params: NameParam, body: m.Fetch },
    m.FetchProgress,
    m.Fetched,
  ),
  connect: job(
    "/v1/connect",
    "Listens on a port of this machine that leads to a service, until cancelled.",
    { body: s.Connect },
    s.ConnectProgress,
    Done,
  ),
  pin: call(
    "POST",
    "/v1/artifacts/{name}/pin",
    "Has an artifact come to this node and stay, or stay no longer.",
    { params: NameParam, body: m.Pin },
    Done,
  ),
  prune: call(
    "POST",
    "/v1/prune",
    "Removes from the store what is not pinned, wanted here, in use, or the last known copy.",
    { body: m.Prune },
    m.Pruned,
  ),
  limits: call("GET", "/v1/limits", "How fast content may come and go, now and at other times.", {}, m.Limits),
  setLimits: call(
    "POST",
    "/v1/limits",
    "Sets limits for now, before those configured.",
    { body: m.SetLimits },
    m.Limits,
  ),
  resetLimits: call("DELETE", "/v1/limits", "Goes back to the limits configured.", {}, m.Limits),
  explain: call(
    "GET",
    "/v1/explain/{name}",
    "Says why the way to a node is the one that it is.",
    { params: NameParam },
    t.Explanation,
  ),
  ping: call("POST", "/v1/ping", "Measures the round trip to a node.", { body: t.Ping }, t.Pong),
  publishService: call("POST", "/v1/services", "Publishes a service from this node.", { body: s.PublishService }, Done),
  unpublishService: call(
    "DELETE",
    "/v1/services/{name}",
    "Publishes a service from this node no longer.",
    { params: NameParam },
    Done,
  ),
  map: call("GET", "/v1/map", "Everybody's links, as this node has heard of them.", {}, FleetMap),
  names: call("GET", "/v1/names", "Where this node answers names of services.", {}, s.Names),
  leave: call("POST", "/v1/leave", "Forgets the fleet: documents, membership, remembered peers.", {}, Done),
  rekey: call(
    "POST",
    "/v1/rekey",
    "Removes the node's key and what hangs on it, and stops; the next start makes a key and asks to join.",
    {},
    Done,
  ),
  acceptMachine: call("POST", "/v1/machine", "Takes this machine for the data directory's own from now on.", {}, Done),
  shutdown: call("POST", "/v1/shutdown", "Stops the daemon in good order.", {}, Done),

  "nodes.list": list("nodes", v.NodeView),
  "nodes.get": get("nodes", v.NodeView),
  "nodes.watch": changes("nodes", v.NodeView),
  "links.list": list("links", v.LinkView),
  "links.get": get("links", v.LinkView),
  "links.watch": changes("links", v.LinkView),
  "routes.list": list("routes", v.RouteView),
  "routes.get": get("routes", v.RouteDetail),
  "routes.watch": changes("routes", z.union([v.RouteDetail, v.RouteView])),
  "circuits.list": list("circuits", v.CircuitView),
  "circuits.get": get("circuits", v.CircuitView),
  "circuits.watch": changes("circuits", v.CircuitView),
  "services.list": list("services", s.ServiceView),
  "services.get": get("services", s.ServiceDetail),
  "services.watch": changes("services", z.union([s.ServiceDetail, s.ServiceView])),
  "artifacts.list": list("artifacts", v.ArtifactView),
  "artifacts.get": get("artifacts", v.ArtifactDetail),
  "artifacts.watch": changes("artifacts", z.union([v.ArtifactDetail, v.ArtifactView])),
  "documents.list": list("documents", v.DocumentView),
  "documents.get": get("documents", v.DocumentDetail),
  "documents.watch": changes("documents", z.union([v.DocumentDetail, v.DocumentView])),
  "tokens.list": list("tokens", v.TokenView),
  "tokens.get": get("tokens", v.TokenView),
  "tokens.watch": changes("tokens", v.TokenView),
  "events.list": list("events", v.EventView),
  "events.get": get("events", v.EventView),
  "events.watch": changes("events", v.EventView),
  "pending.list": list("pending", v.PendingView),
  "pending.get": get("pending", v.PendingView),
  "pending.watch": changes("pending", v.PendingView),
} as const satisfies Record<string, Route>;

/** The table's type: from it come the types of the client and of the handlers. */
export type Routes = typeof ROUTES;
/** `operation` or `resource.list|get|watch`. */
export type RouteName = keyof Routes;
