import { z } from "zod";
import { WireFault } from "./messages.ts";
import type { Route } from "./route.ts";
import { ROUTES } from "./routes.ts";
import { STATUS_OF_EXIT } from "./wire-fault.ts";

type Json = Record<string, unknown>;

/** The OpenAPI 3.1 description of the control API, made from the same table that mounts it. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const [name, route] of Object.entries(ROUTES)) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(name, route) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Portolan control API", version, description: "HTTP on the unix socket in the data directory." },
    paths,
  };
}

function operation(operationId: string, route: Route): Json {
  const { params, query, body } = route.input;
  return {
    operationId,
    summary: route.summary,
    parameters: [...parametersOf("path", params), ...parametersOf("query", query)],
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: content("application/json", body, "input") } }),
    responses: {
      200: { description: "Done.", content: answerOf(route) },
      default: {
        description: `Fault; status ${Object.values(STATUS_OF_EXIT).join(", ")} by its exit.`,
        content: content("application/json", WireFault, "output"),
      },
    },
  };
}

function answerOf(route: Route): Json {
  if (route.shape === "call") return content("application/json", route.output, "output");
  if (route.shape === "watch") return content("text/event-stream", z.object({ change: route.event }), "output");
  const events = z.object({ progress: route.progress, result: route.output, fault: WireFault });
  return content("text/event-stream", events.partial(), "output");
}

/** For event streams the schema has one property for each event name: its `data`. */
function content(type: string, schema: z.ZodType, io: "input" | "output"): Json {
  return { [type]: { schema: z.toJSONSchema(schema, { io }) } };
}

function parametersOf(place: "path" | "query", schema: z.ZodObject<Record<string, z.ZodType>> | undefined): Json[] {
  if (schema === undefined) return [];
  return Object.entries(schema.shape).map(([name, part]) => ({
    name,
    in: place,
    required: place === "path",
    schema: z.toJSONSchema(part, { io: "input" }),
  }));
}
