/** A WebSocket server and client, run on hosts of the lab: `serve PORT` echoes; `talk URL COUNT` sends messages of all sizes and compares what comes back. */
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";
import { SystemRandom } from "#core";

const [verb, where = "", count = "0"] = process.argv.slice(2);

async function serve(port: number): Promise<void> {
  const server = new WebSocketServer({ host: "127.0.0.1", port });
  server.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  await once(server, "listening");
  console.log("ready");
}

async function talk(url: string, messages: number): Promise<void> {
  const random = new SystemRandom();
  const socket = new WebSocket(url);
  await once(socket, "open");
  for (let i = 0; i < messages; i++) {
    const sent = Buffer.from(random.bytes(random.below(256 * 1024)));
    const answer = once(socket, "message");
    socket.send(sent);
    const [came] = (await answer) as [Buffer];
    if (!came.equals(sent)) throw new Error(`message ${i} came back otherwise`);
  }
  socket.close(1000, "done");
  const [code] = (await once(socket, "close")) as [number];
  console.log(`${messages} equal, closed with ${code}`);
}

await (verb === "serve" ? serve(Number(where)) : talk(where, Number(count)));
