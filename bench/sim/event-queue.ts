type Job = () => void;

/** What happens when, on virtual time: earliest first, and among equals what was added first. A heap of four children each, without objects. */
export class EventQueue {
  nowMs = 0;
  #times = new Float64Array(1024);
  #orders = new Float64Array(1024);
  readonly #jobs: Job[] = [];
  #size = 0;
  #order = 0;

  /** Never earlier than now. */
  at(atMs: number, job: Job): void {
    if (this.#size === this.#times.length) this.#grow();
    let at = this.#size++;
    const time = Math.max(atMs, this.nowMs);
    while (at > 0) {
      const up = (at - 1) >> 2;
      if ((this.#times[up] ?? 0) <= time) break;
      this.#move(up, at);
      at = up;
    }
    this.#put(at, time, this.#order++, job);
  }

  /** Lets the next thing happen; false when there is none up to `endMs`. */
  next(endMs: number): boolean {
    const job = this.#jobs[0];
    const time = this.#times[0] ?? 0;
    if (this.#size === 0 || job === undefined || time > endMs) return false;
    this.#dropFirst();
    this.nowMs = time;
    job();
    return true;
  }

  #dropFirst(): void {
    const last = --this.#size;
    const [time = 0, order = 0, job] = [this.#times[last], this.#orders[last], this.#jobs.pop()];
    if (last === 0 || job === undefined) return;
    let at = 0;
    for (;;) {
      const first = 4 * at + 1;
      if (first >= last) break;
      let best = first;
      for (let child = first + 1; child < Math.min(first + 4, last); child++)
        if (this.#before(child, best)) best = child;
      const bestTime = this.#times[best] ?? 0;
      if (time < bestTime || (time === bestTime && order < (this.#orders[best] ?? 0))) break;
      this.#move(best, at);
      at = best;
    }
    this.#put(at, time, order, job);
  }

  #before(a: number, b: number): boolean {
    const ahead = (this.#times[a] ?? 0) - (this.#times[b] ?? 0);
    return ahead < 0 || (ahead === 0 && (this.#orders[a] ?? 0) < (this.#orders[b] ?? 0));
  }

  #move(from: number, to: number): void {
    const job = this.#jobs[from];
    if (job !== undefined) this.#put(to, this.#times[from] ?? 0, this.#orders[from] ?? 0, job);
  }

  #put(at: number, time: number, order: number, job: Job): void {
    this.#times[at] = time;
    this.#orders[at] = order;
    this.#jobs[at] = job;
  }

  #grow(): void {
    const [times, orders] = [this.#times, this.#orders];
    this.#times = new Float64Array(this.#size * 2);
    this.#orders = new Float64Array(this.#size * 2);
    this.#times.set(times);
    this.#orders.set(orders);
  }
}
