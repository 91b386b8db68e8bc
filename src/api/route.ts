import type { z } from "zod";

/** Names in a path (`/v1/nodes/{name}`) and in a query are text; a body is JSON. */
type Inputs = { params?: z.ZodObject; query?: z.ZodObject; body?: z.ZodObject };

/** One answer. */
export type CallRoute<I extends Inputs = Inputs, O extends z.ZodType = z.ZodType> = RouteBase & {
  shape: "call";
  input: I;
  output: O;
};

/** Long work: `progress` events, then one `result` or one `fault`. Closing the stream cancels the work. */
export type JobRoute<
  I extends Inputs = Inputs,
  P extends z.ZodType = z.ZodType,
  O extends z.ZodType = z.ZodType,
> = RouteBase & { shape: "job"; input: I; progress: P; output: O };

/** Live changes: `change` events without end, after one for each object there is and one `synced`. */
export type WatchRoute<I extends Inputs = Inputs, E extends z.ZodType = z.ZodType> = RouteBase & {
  shape: "watch";
  input: I;
  event: E;
};

type RouteBase = { method: "GET" | "POST" | "DELETE"; path: string; summary: string };

/** A row of the table in routes.ts: the server, the client and the OpenAPI document are made from it. */
export type Route = CallRoute | JobRoute | WatchRoute;

type Part<T, K extends string> = T extends Record<K, infer S extends z.ZodType> ? z.output<S> : object;

/** What a route takes: its path, query and body members as one flat object. */
export type InputOf<R extends Route> = Part<R["input"], "params"> &
  Part<R["input"], "query"> &
  Part<R["input"], "body">;

type SentPart<T, K extends string> = T extends Record<K, infer S extends z.ZodType> ? z.input<S> : object;

/** What a caller gives: as `InputOf`, where members with a default may be left out. */
export type CallerInputOf<R extends Route> = SentPart<R["input"], "params"> &
  SentPart<R["input"], "query"> &
  SentPart<R["input"], "body">;

/** What a call answers, or a job ends with. */
export type OutputOf<R extends Route> = R extends { output: infer O extends z.ZodType } ? z.output<O> : never;
/** What a job says on the way. */
export type ProgressOf<R extends Route> = R extends { progress: infer P extends z.ZodType } ? z.output<P> : never;
/** What a watch says. */
export type EventOf<R extends Route> = R extends { event: infer E extends z.ZodType } ? z.output<E> : never;

/** A route that answers once. */
export function call<I extends Inputs, O extends z.ZodType>(
  method: RouteBase["method"],
  path: string,
  summary: string,
  input: I,
  output: O,
): CallRoute<I, O> {
  return { shape: "call", method, path, summary, input, output };
}

/** A route that works for long: POST, progress, result. */
export function job<I extends Inputs, P extends z.ZodType, O extends z.ZodType>(
  path: string,
  summary: string,
  input: I,
  progress: P,
  output: O,
): JobRoute<I, P, O> {
  return { shape: "job", method: "POST", path, summary, input, progress, output };
}

/** A route that never ends: GET, changes. */
export function watch<I extends Inputs, E extends z.ZodType>(
  path: string,
  summary: string,
  input: I,
  event: E,
): WatchRoute<I, E> {
  return { shape: "watch", method: "GET", path, summary, input, event };
}
