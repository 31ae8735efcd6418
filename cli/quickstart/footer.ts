/** A line that stays at the bottom of the terminal while other text scrolls above it. */

/** What is written to; a test's own. */
export interface Terminal {
  readonly columns?: number;
  write(text: string | Uint8Array, ...rest: never[]): boolean;
}

const ERASE = "\r\x1b[K";

export class Footer {
  readonly #terminal: Terminal;
  readonly #restore: (() => void)[] = [];
  readonly #draw: (text: string) => void;
  #text = "";

  /**
   * Draws on `terminal`. Whatever is written to `terminal` and `others` (streams that show on the same screen, whole
   * lines at a time) is put above.
   */
  constructor(terminal: Terminal, others: readonly Terminal[] = []) {
    this.#terminal = terminal;
    const write = terminal.write.bind(terminal);
    this.#draw = write;
    for (const stream of [terminal, ...others]) {
      const original = stream.write;
      const through = original.bind(stream);
      stream.write = (...written) => {
        if (this.#text === "") return through(...written);
        write(ERASE);
        const more = through(...written);
        write(this.#text);
        return more;
      };
      this.#restore.push(() => (stream.write = original));
    }
  }

  /** Columns of a line that does not wrap. */
  get columns(): number {
    // A terminal that does not know its width says 0.
    return Math.max(1, (this.#terminal.columns || 80) - 1);
  }

  /** Shows a line of at most `columns`. */
  show(line: string): void {
    this.#text = line;
    this.#draw(ERASE + line);
  }

  /** Takes the line away and leaves the streams as they were. */
  close(): void {
    if (this.#text !== "") this.#draw(ERASE);
    this.#text = "";
    for (const restore of this.#restore.splice(0)) restore();
  }
}
