// An estimate of the server's clock by four time stamps, as NTP makes it: of the last minute's samples, the one with
// the shortest round trip, whose error is at most half of that.

const keptMs = 60_000;

export class ServerClock {
  #samples = [];
  #offset = null;

  // t0 and t3 are this page's, t1 and t2 the server's, all in milliseconds.
  add(t0, t1, t2, t3) {
    this.#samples.push({ at: t3, trip: t3 - t0 - (t2 - t1), offset: (t1 - t0 + (t2 - t3)) / 2 });
    this.#samples = this.#samples.filter((sample) => sample.at > t3 - keptMs);
    this.#offset = this.#samples.reduce((best, sample) => (sample.trip <= best.trip ? sample : best)).offset;
  }

  forget() {
    this.#samples = [];
    this.#offset = null;
  }

  // A time of performance.now() on the server's clock; null while there is no estimate.
  at(local) {
    return this.#offset === null ? null : local + this.#offset;
  }
}
