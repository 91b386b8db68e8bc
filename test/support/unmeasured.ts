/** What a session says of a link that nobody probes: nothing. */
export class Unmeasured {
  readonly carried = false;
  rttMs(): undefined {
    return undefined;
  }
  lossRatio(): undefined {
    return undefined;
  }
  loadRatio(): number {
    return 0;
  }
  measuredBy(): undefined {
    return undefined;
  }
  carry(): () => void {
    return () => undefined;
  }
  suspect(): boolean {
    return false;
  }
}
