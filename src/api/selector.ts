import { Fault } from "#core";

/** One condition on one label. `in` with one value is `=`; `notIn` also holds where the label is absent. */
type Requirement = { key: string; operator: "in" | "notIn" | "exists" | "absent"; values: readonly string[] };

/** A parsed label selector: every requirement must hold. Empty: everything matches. */
export type Selector = readonly Requirement[];

/** Longest selector, in characters. Kubernetes has no limit; a line that somebody types has one. */
export const MAX_SELECTOR_CHARS = 1_000;

const KEY = String.raw`[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126})`;
const VALUE = String.raw`[A-Za-z0-9](?:[A-Za-z0-9._:/-]{0,126})`;
const FORMS: readonly [RegExp, (key: string, rest: string) => Requirement][] = [
  [new RegExp(`^!\\s*(${KEY})$`, "u"), (key) => ({ key, operator: "absent", values: [] })],
  [new RegExp(`^(${KEY})$`, "u"), (key) => ({ key, operator: "exists", values: [] })],
  [new RegExp(`^(${KEY})\\s*={1,2}\\s*(${VALUE})$`, "u"), (key, v) => ({ key, operator: "in", values: [v] })],
  [new RegExp(`^(${KEY})\\s*!=\\s*(${VALUE})$`, "u"), (key, v) => ({ key, operator: "notIn", values: [v] })],
  [new RegExp(`^(${KEY})\\s+in\\s+\\(([^()]+)\\)$`, "u"), (key, list) => setOf(key, "in", list)],
  [new RegExp(`^(${KEY})\\s+notin\\s+\\(([^()]+)\\)$`, "u"), (key, list) => setOf(key, "notIn", list)],
];

/**
 * Reads a label selector in the syntax of Kubernetes: `site=berlin,gpu,!spare,tier in (a,b),zone notin (x)`.
 * Source: kubernetes.io/docs/concepts/overview/working-with-objects/labels, "Label selectors".
 *
 * Throws Fault `api.selector` (exit `invalid`) that names the part which cannot be read.
 */
export function parseSelector(text: string): Selector {
  if (text.length > MAX_SELECTOR_CHARS) throw refuse(`${text.slice(0, 40)}…`, "it is too long");
  if (text.trim() === "") return [];
  return splitOutsideParentheses(text).map((part) => {
    for (const [form, build] of FORMS) {
      const match = form.exec(part);
      if (match !== null) return build(match[1] ?? "", match[2] ?? "");
    }
    throw refuse(text, `"${part}" is not a condition`);
  });
}

/** Whether labels satisfy every requirement. */
export function matchesSelector(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every((requirement) =>
    holds(requirement, Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined),
  );
}

function holds(requirement: Requirement, value: string | undefined): boolean {
  if (requirement.operator === "exists") return value !== undefined;
  if (requirement.operator === "absent") return value === undefined;
  const listed = value !== undefined && requirement.values.includes(value);
  return requirement.operator === "in" ? listed : !listed;
}

function setOf(key: string, operator: "in" | "notIn", list: string): Requirement {
  const values = list.split(",").map((value) => value.trim());
  const bad = values.find((value) => !new RegExp(`^${VALUE}$`, "u").test(value));
  if (bad !== undefined) throw refuse(`${key} (${list})`, `"${bad}" is not a label value`);
  return { key, operator, values };
}

function splitOutsideParentheses(text: string): string[] {
  const parts: string[] = [""];
  let depth = 0;
  for (const char of text) {
    if (char === "(") depth += 1;
    if (char === ")") depth -= 1;
    if (char === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += char;
  }
  return parts.map((part) => part.trim());
}

function refuse(text: string, why: string): Fault {
  return new Fault("api.selector", `the selector "${text}" cannot be read: ${why}`, {
    exit: "invalid",
    fix: 'write it like: -l "site=berlin,gpu,tier in (a,b)"',
  });
}
