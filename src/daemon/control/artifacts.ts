import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { isAbsolute } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ArtifactDetail, ArtifactView, CopyView, Handlers, ResourceHandler } from "#api";
import { Fault } from "#core";
import type { MemberInfo, NodeId, SignedDocument, Spec } from "#identity";
import type { ArtifactKeeper } from "../artifact-keeper.ts";
import type { Copy } from "../copies.ts";
import type { OpenNode } from "../node.ts";
import { asksFor, placementsOf } from "../placement.ts";
import { makeDraft, signerView } from "./documents.ts";

/** Publishing, fetching, and who has what. */
export function artifactHandlers(
  node: OpenNode,
  keeper: ArtifactKeeper,
): Pick<Handlers, "publish" | "fetch" | "pin" | "prune"> & { artifacts: ResourceHandler<"artifacts"> } {
  const { state, copies, pins } = node;
  return {
    artifacts: {
      list: async () => state.store.list("Artifact").map((document) => artifactView(node, keeper, document)),
      get: async (name) => {
        const document = state.store.get("Artifact", name);
        return document === undefined ? undefined : artifactDetail(node, keeper, document);
      },
      onChange: (listener) => {
        const stops = [state.store.onAccepted(listener), copies.onChange(listener), pins.onChange(listener)];
        return () => {
          for (const stop of stops) stop();
        };
      },
    },
    publish: async ({ path, name, tenant, labels, mediaType, inPlace }, { signal, progress }) => {
      requireAbsolute(path);
      const content = await keeper.publish(path, {
        inPlace,
        signal,
        onProgress: ({ bytes, sizeBytes }) => progress({ phase: "storing", bytes, sizeBytes }),
        ...(mediaType === undefined ? {} : { mediaType }),
      });
      const draft = makeDraft(state, "Artifact", {
        name,
        labels,
        spec: content,
        ...(tenant === undefined ? {} : { tenant }),
      });
      return { draft, root: rootOf(content), sizeBytes: content.sizeBytes, files: content.files };
    },
    pin: async ({ name, pinned }) => {
      keeper.pin(name, pinned);
      return { done: true };
    },
    prune: async ({ dryRun }) => {
      const { remove, kept, freesBytes } = await (dryRun ? keeper.planPrune() : keeper.prune());
      return {
        removed: remove.map(({ holding, freesBytes: bytes }) => ({ name: holding.name, bytes })),
        kept: kept.map(({ holding, keep: reason }) => ({ name: holding.name, reason })),
        freedBytes: freesBytes,
      };
    },
    fetch: ({ name, output, force, link, background }, { signal, progress }) =>
      keeper.using(name, async () => {
        if (output !== undefined) requireAbsolute(output);
        const copy = await keeper.bring(name, {
          signal,
          background,
          onProgress: ({ bytes, sizeBytes, fromSite, fromWan, sources }) =>
            progress({
              state: "transferring",
              bytes,
              sizeBytes,
              bytesFromSite: fromSite,
              bytesFromWan: fromWan,
              sources: sources.size,
            }),
        });
        const { spec } = (state.store.get("Artifact", name) as SignedDocument<"Artifact">).body;
        let sha256: string | undefined;
        if (output !== undefined) {
          await keeper.write(name, output, { force, link, signal });
          if (!spec.directory) sha256 = await sha256Of(output, signal);
        }
        const { startedMs = 0, finishedMs = startedMs, bytesFromSite, bytesFromWan, sources } = copy;
        return {
          name,
          root: rootOf(spec),
          bytes: spec.sizeBytes,
          ...(sha256 === undefined ? {} : { sha256 }),
          ...(output === undefined ? {} : { output }),
          bytesFromSite,
          bytesFromWan,
          sources: sourceViews(node, sources),
          startedAt: new Date(startedMs).toISOString(),
          finishedAt: new Date(finishedMs).toISOString(),
          seconds: (finishedMs - startedMs) / 1_000,
        };
      }),
  };
}

function artifactView(node: OpenNode, keeper: ArtifactKeeper, document: SignedDocument<"Artifact">): ArtifactView {
  const { state } = node;
  const { metadata, spec, notBefore, expires } = document.body;
  const all = copyViews(node, document);
  const mine = all.find(({ id }) => id === state.data.key.nodeId)?.view;
  const as = keeper.precedence(metadata.name);
  return {
    name: metadata.name,
    labels: metadata.labels,
    tenant: metadata.tenant,
    mediaType: spec.mediaType,
    sizeBytes: spec.sizeBytes,
    files: spec.files,
    root: rootOf(spec),
    local: { ...(mine ?? copyView(node, undefined, node.copies.own(metadata.name))), ...(as && { precedence: as }) },
    pinned: node.pins.has(metadata.name),
    copies: all.filter(({ view }) => view.state === "complete").length,
    wanted: all.filter(({ view }) => view.wanted).length,
    createdAt: notBefore,
    expires,
  };
}

function artifactDetail(node: OpenNode, keeper: ArtifactKeeper, document: SignedDocument<"Artifact">): ArtifactDetail {
  const { name } = document.body.metadata;
  return {
    ...artifactView(node, keeper, document),
    chunkBytes: document.body.spec.chunkBytes,
    publisher: signerView(node.state, document.signers[0] ?? ""),
    placements: placementsOf(node, name).map(({ body }) => ({
      name: body.metadata.name,
      selector: body.spec.selector,
    })),
    nodes: copyViews(node, document).map(({ view }) => view),
    sources: sourceViews(node, node.copies.own(name)?.sources ?? new Map()),
  };
}

/** Every node that has something of the artifact, or should. */
function copyViews(node: OpenNode, document: SignedDocument<"Artifact">): { id: NodeId; view: CopyView }[] {
  const { state, copies } = node;
  const { metadata, version } = document.body;
  const placements = placementsOf(node, metadata.name);
  return state.members.all().flatMap((member) => {
    const own = member.node === state.data.key.nodeId;
    const told = own ? copies.own(metadata.name) : copies.of(member.node, metadata.name, version);
    const copy = told?.version === version ? told : undefined;
    const wanted = placements.some((placement) => asksFor(placement, member));
    return copy === undefined && !wanted ? [] : [{ id: member.node, view: copyView(node, member, copy, wanted) }];
  });
}

function copyView(
  { state }: OpenNode,
  member: MemberInfo | undefined,
  copy: Copy | undefined,
  wanted = false,
): CopyView {
  const base = { node: member?.name ?? state.data.key.nodeId, site: member?.site ?? "", wanted };
  if (copy === undefined) {
    return { ...base, state: wanted ? "waiting" : "unknown", bytes: 0, bytesFromSite: 0, bytesFromWan: 0 };
  }
  const { bytes, bytesFromSite, bytesFromWan, startedMs, finishedMs, reason } = copy;
  return {
    ...base,
    state: copy.state,
    bytes,
    bytesFromSite,
    bytesFromWan,
    ...(startedMs === undefined ? {} : { startedAt: new Date(startedMs).toISOString() }),
    ...(finishedMs === undefined ? {} : { finishedAt: new Date(finishedMs).toISOString() }),
    ...(reason === undefined ? {} : { reason }),
  };
}

function sourceViews({ state }: OpenNode, sources: ReadonlyMap<NodeId, number>) {
  return [...sources]
    .map(([id, bytes]) => ({ node: state.members.of(id)?.name ?? id, site: state.members.of(id)?.site ?? "", bytes }))
    .toSorted((a, b) => b.bytes - a.bytes);
}

function rootOf(spec: Spec<"Artifact">): string {
  return spec.root;
}

async function sha256Of(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash, { signal });
  return hash.digest("hex");
}

function requireAbsolute(path: string): void {
  if (isAbsolute(path)) return;
  throw new Fault("daemon.path", `"${path}" is not an absolute path`, { exit: "invalid" });
}
