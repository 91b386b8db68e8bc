import { Fault } from "#core";

/** An IP address and a port, as an option names them; port 0 is a free one. Throws Fault `cli.listen` (exit `invalid`). */
export function toListenAddress(option: string, text: string): { host: string; port: number } {
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[\d.]+)):(?<port>\d{1,5})$/u.exec(text)?.groups;
  if (match !== undefined) return { host: match["v6"] ?? match["v4"] ?? "", port: Number(match["port"]) };
  throw new Fault("cli.listen", `${option} ${text} is not an IP address and a port`, {
    exit: "invalid",
    fix: "Write 127.0.0.1:8554, or 0.0.0.0:8554 for all addresses of this machine.",
  });
}
