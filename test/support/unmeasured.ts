/** What a session says of a link that nobody probes: nothing. */
export class Unmeasured {
  rttMs(): undefined {
    return undefined;
  }
  lossRatio(): undefined {
    return undefined;
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
