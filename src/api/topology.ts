import { z } from "zod";
import { RouteDetail } from "./views.ts";

const Count = z.number().int().nonnegative();

/** A topology's spec, to say what it would change. */
export const PreviewTopology = z.strictObject({ spec: z.record(z.string(), z.unknown()) });

/** A way by its gateways: none to a neighbour. */
const WayView = z.object({ cost: z.number(), via: z.array(z.string()) });

/** What a topology would change, as this node knows everybody's links. */
export const TopologyPreview = z.object({
  /** Ways that would be other ones, those first that would be gone; at most 10,000 of `total`. */
  changes: z.array(
    z.object({ from: z.string(), to: z.string(), before: WayView.optional(), after: WayView.optional() }),
  ),
  total: Count,
  /** Nodes that could not be reached any more, and from how many others. */
  cut: z.array(z.object({ node: z.string(), from: Count })),
  warnings: z.array(z.string()),
});

/** Why the way to a node is the one that it is. */
export const Explanation = z.object({
  name: z.string(),
  nodeId: z.string(),
  /** Name of the topology in force, if there is one. */
  topology: z.string().optional(),
  /** Absent where there is none. */
  route: RouteDetail.optional(),
  /**
   * Ways that would be cheaper, each but for one thing: links that the topology forbids, nodes that do not carry, links of which one end
   * tells only, links of this node that go unanswered. `at`: where; a link by both its ends.
   */
  untaken: z.array(
    WayView.extend({
      why: z.enum(["forbidden", "no-transit", "one-end", "suspect"]),
      at: z.array(z.array(z.string())),
    }),
  ),
});

/** By name, node id, serial number, or an unambiguous beginning of the id. */
export const Ping = z.strictObject({ node: z.string().min(1).max(253) });

/** A round trip. `via`: the nodes that carried it, none over a link; absent over a circuit that the other node opened, which alone knows its way. */
export const Pong = z.object({
  name: z.string(),
  node: z.string(),
  rttMs: z.number(),
  via: z.array(z.string()).optional(),
});

export type TopologyPreview = z.output<typeof TopologyPreview>;
export type Explanation = z.output<typeof Explanation>;
