/** Processor time that patterns may use up in one run: it is what keeps a slow one from holding up everybody. */

/** The time is looked at once in so many characters that were searched. */
const GLANCE_CHARS = 4096;

export class Deadline {
  readonly #now: () => number;
  readonly #until: number;
  #chars = 0;
  #over = false;

  /** `milliseconds` from now on, by a clock in milliseconds. */
  constructor(milliseconds: number, now: () => number = threadMilliseconds) {
    this.#now = now;
    this.#until = now() + milliseconds;
  }

  /** True from the first look after the deadline on; `chars` were, or are about to be, searched since the last call. */
  passed(chars: number): boolean {
    this.#chars += chars;
    if (this.#over || this.#chars < GLANCE_CHARS) return this.#over;
    this.#chars = 0;
    return (this.#over = this.#now() > this.#until);
  }
}

/** Processor time of this thread: unlike the clock it does not run on while others run. */
export function threadMilliseconds(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
