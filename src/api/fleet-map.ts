import { z } from "zod";

const Place = z.int().nonnegative();
/** `null`: no way may lead over it in this direction. */
const Cost = z.number().nullable();

/**
 * Everybody's links, as this node has heard of them. `nodes`: names; links name their ends by the place in that list, the first below the
 * second. Then the cost from the first to the second, and back.
 */
export const FleetMap = z.object({
  nodes: z.array(z.string()),
  links: z.array(z.tuple([Place, Place, Cost, Cost])),
});

export type FleetMap = z.output<typeof FleetMap>;
