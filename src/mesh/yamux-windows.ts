import { StreamState, YamuxStream } from "@chainsafe/libp2p-yamux/stream";

/** What yamux keeps of a stream's window, which its types call private. */
type Window = {
  state: StreamState;
  recvWindow: number;
  recvWindowCapacity: number;
  maxStreamWindowSize: number;
  readStatus: string;
};

/** A window that has grown to its largest is told of in such steps: by halves, a long way would stand still for half of it at a time. */
const STEP_BYTES = 512 * 1024;

/**
 * A reader may pause a stream again while `resume` hands it what waited. @libp2p/utils then goes on as if it had not, and yamux gives the sender
 * window after window until the stream dies of its full read buffer.
 */
export function keepPaused(): void {
  const resume: (this: YamuxStream) => void = Reflect.get(YamuxStream.prototype, "sendResume");
  YamuxStream.prototype.sendResume = function (this: YamuxStream): void {
    if ((this as unknown as Window).readStatus === "readable") resume.call(this);
  };
}

/**
 * Tells the sender of a window when half of it is used up, as yamux in Go does (hashicorp/yamux stream.go, `sendWindowUpdate`), and of the largest one a
 * step at a time. Of itself
 * @chainsafe/libp2p-yamux tells it after every frame: half of all that a receiver sent, each a TLS record, a packet, and a wake-up of
 * the sender. The class is the library's only seam for this, so it is changed for the process.
 */
export function tellWindowsInSteps(): void {
  const tell: (this: YamuxStream) => void = Reflect.get(YamuxStream.prototype, "sendWindowUpdate");
  YamuxStream.prototype.sendWindowUpdate = function (this: YamuxStream): void {
    const { state, recvWindow, recvWindowCapacity, maxStreamWindowSize } = this as unknown as Window;
    const onlyWindow = state === StreamState.Established; // else the update carries what opens the stream
    const stepBytes = recvWindow < maxStreamWindowSize ? recvWindow / 2 : STEP_BYTES;
    if (onlyWindow && recvWindow - recvWindowCapacity < stepBytes) return;
    tell.call(this);
  };
}
