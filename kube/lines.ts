/**
 * Cuts a stream of bytes into lines at \n and nowhere else: JSON may hold U+2028, and a character may come in two
 * pieces. Holds at most one unfinished line.
 */
import { Buffer } from "node:buffer";
import { TooLong } from "./errors.ts";

const NEWLINE = 0x0a;

export class Lines {
  readonly #bytesMax: number;
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Gives every line that `chunk` ends, without its newline, to `each`. Throws TooLong, and what `each` throws. */
  push(chunk: Buffer, each: (line: Buffer) => void): void {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      const [only] = this.#pieces;
      const line = this.#pieces.length === 1 && only ? only : Buffer.concat(this.#pieces, this.#bytes);
      this.#pieces = [];
      this.#bytes = 0;
      start = end + 1;
      each(line);
    }
    // Copied: a view would hold the whole chunk for as long as its line is unfinished.
    if (start < chunk.length) this.#keep(Buffer.from(chunk.subarray(start)));
  }

  #keep(piece: Buffer): void {
    this.#bytes += piece.length;
    if (this.#bytes > this.#bytesMax) throw new TooLong(`a line has more than ${this.#bytesMax} bytes`);
    this.#pieces.push(piece);
  }
}
