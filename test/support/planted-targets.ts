import { Fault } from "#core";
import { type FuzzTarget, mustHold } from "../fuzz/target.ts";

const planted = (name: string, eat: (text: string) => string): FuzzTarget => ({
  name,
  covers: [],
  grammar: "text",
  seeds: () => [Buffer.from("one,two;three")],
  refuses: ["core.known"],
  prepare: () => (input) => eat(Buffer.from(input).toString("latin1")),
});
const kept: unknown[] = [];

/** Decoders with one mistake each, which the fuzzer has to find. */
export const TARGETS: readonly FuzzTarget[] = [
  planted("throws", (text) => {
    if (text.includes(",;")) throw new TypeError("undefined is not a function");
    throw new Fault("core.known", "refused");
  }),
  planted("surprises", (text) => {
    if (text.includes(",,")) throw new Fault("core.other", "a code that nobody documented");
    return "taken";
  }),
  planted("errs", (text) => {
    mustHold(!text.includes(";;"), "something else came out");
    return "taken";
  }),
  planted("loops", (text) => {
    while (text.includes("ttt"));
    return "taken";
  }),
  planted("dawdles", (text) => {
    let sum = 0;
    if (text.includes("oo")) for (let at = 0; at < 1e9; at++) sum += at % 7;
    return `taken ${sum > 1}`;
  }),
  planted("gobbles", (text) => {
    if (text.includes("ee")) return `${new Float64Array(1e7).length}`;
    return "taken";
  }),
  planted("leaks", () => {
    kept.push(new Uint8Array(20_000));
    return "taken";
  }),
  planted("pollutes", (text) => {
    if (text.includes("__proto__")) Reflect.set(Object.prototype, "polluted", true);
    return "taken";
  }),
];
