/**
 * The room for chunks: pages of 64 KiB between two addresses of the memory, handed out in runs, first fit by address.
 *
 *     page   0 1 2 3 4 5 6 7 8 9
 *     runs   3 0 0 2 0 0 0 1 0 0      three runs, of 3, 2 and 1 pages; pages 5, 6, 8 and 9 are free
 *
 * The map says only where runs begin and how long they are. Free pages have no structure of their own, so free
 * neighbours are one run without anybody joining them. First fit keeps what lives long at the low end and leaves the
 * large run at the high end.
 */

export const PAGE_BYTES = 65_536;

export class Arena {
  readonly #from: number;
  readonly #runs: Uint32Array;
  #usedPages = 0;
  /** No page before this one is free: where the search begins. */
  #firstFree = 0;

  /** Both addresses are multiples of PAGE_BYTES, and `from` is not 0, which means "no room". */
  constructor(from: number, to: number) {
    if (from % PAGE_BYTES !== 0 || to % PAGE_BYTES !== 0 || from <= 0 || to < from) {
      throw new RangeError(`no arena between ${from} and ${to}`);
    }
    this.#from = from;
    this.#runs = new Uint32Array((to - from) / PAGE_BYTES);
  }

  get usedBytes(): number {
    return this.#usedPages * PAGE_BYTES;
  }

  get freeBytes(): number {
    return (this.#runs.length - this.#usedPages) * PAGE_BYTES;
  }

  /** The most that one allocate() can get now. */
  get largestBytes(): number {
    const runs = this.#runs;
    let largest = 0;
    let begin = this.#firstFree;
    for (let page = begin; page < runs.length;) {
      const run = runs[page]!;
      page += run || 1;
      if (run > 0) begin = page;
      else largest = Math.max(largest, page - begin);
    }
    return largest * PAGE_BYTES;
  }

  /** Address of a run of `bytes` (at least 1, rounded up to whole pages), or 0 when there is no room. */
  allocate(bytes: number): number {
    if (!(bytes > 0)) throw new RangeError(`cannot allocate ${bytes} bytes`);
    const runs = this.#runs;
    const wanted = Math.ceil(bytes / PAGE_BYTES);
    if (wanted > runs.length - this.#usedPages) return 0;
    let begin = this.#firstFree;
    for (let page = begin; page < runs.length;) {
      const run = runs[page]!;
      page += run || 1;
      if (run > 0) begin = page;
      if (page - begin < wanted) continue;
      runs[begin] = wanted;
      this.#usedPages += wanted;
      if (begin === this.#firstFree) this.#firstFree = page;
      return this.#from + begin * PAGE_BYTES;
    }
    return 0;
  }

  /** Frees the run that allocate() returned. Freeing anything else, or twice, is a bug of ours and throws. */
  free(address: number): void {
    const page = (address - this.#from) / PAGE_BYTES;
    const run = this.#runs[page] ?? 0;
    if (run === 0) throw new Error(`BUG: nothing is allocated at ${address}`);
    this.#runs[page] = 0;
    this.#usedPages -= run;
    this.#firstFree = Math.min(this.#firstFree, page);
  }
}
