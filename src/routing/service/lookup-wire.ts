import { hash } from "node:crypto";
import type { FrameLimits } from "#core";
import { z } from "zod";
import { ServiceName } from "./service.ts";

/** Asks a node whether it publishes a service (docs/spec/services.md). */
export const SERVICES_PROTOCOL = "/portolan/services/1";
/** Two names and their keys. */
export const QUESTION_LIMITS: Readonly<FrameLimits> = { maxHeaderBytes: 512, maxPayloadBytes: 0 };

const Question = z.strictObject({ tenant: z.string().min(1).max(128), name: ServiceName });
export type ServiceQuestion = z.output<typeof Question>;
const Answer = z.strictObject({ found: z.boolean() });

/** `undefined`: it makes no sense. */
export function readQuestion(header: unknown): ServiceQuestion | undefined {
  return Question.safeParse(header).data;
}

/** Whether a node publishes what it was asked for; its newest statement is the frame's payload then. `undefined`: it makes no sense. */
export function readAnswer(header: unknown): boolean | undefined {
  return Answer.safeParse(header).data?.found;
}

/** Under which key the DHT knows who publishes a service: hex SHA-256("service" ‖ tenant ‖ 0 ‖ name). */
export function serviceKey({ tenant, name }: ServiceQuestion): string {
  return hash("sha256", `service${tenant}\0${name}`, "hex");
}
