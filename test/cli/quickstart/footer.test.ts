import assert from "node:assert/strict";
import { test } from "node:test";
import { Footer } from "../../../cli/quickstart/footer.ts";

/** What a terminal shows: it knows text, line ends, returns and "erase to the end of the line". */
class Screen {
  columns = 80;
  lines = [""];
  #column = 0;

  /** A stream that shows on this screen. */
  stream() {
    const write = (text: string | Uint8Array): boolean => {
      this.#show(Buffer.from(text).toString());
      return true;
    };
    return { columns: this.columns, write };
  }

  #show(text: string): void {
    for (const [piece] of text.matchAll(/\x1b\[K|\r|\n|[^\x1b\r\n]+/g)) {
      const line = this.lines.at(-1)!;
      if (piece === "\n") this.lines.push("");
      if (piece === "\n" || piece === "\r") this.#column = 0;
      else if (piece === "\x1b[K") this.lines[this.lines.length - 1] = line.slice(0, this.#column);
      else {
        this.lines[this.lines.length - 1] =
          line.slice(0, this.#column) + piece + line.slice(this.#column + piece.length);
        this.#column += piece.length;
      }
    }
  }
}

test("the line stays last while both streams write above it, and goes when it is closed", () => {
  const screen = new Screen();
  const [stderr, stdout] = [screen.stream(), screen.stream()];
  const footer = new Footer(stderr, [stdout]);
  stdout.write("before\n");
  footer.show("read 100 lines");
  assert.deepEqual(screen.lines, ["before", "read 100 lines"]);
  stdout.write("one\ntwo\n");
  stderr.write(Buffer.from("warning\n"));
  footer.show("read 9");
  assert.deepEqual(screen.lines, ["before", "one", "two", "warning", "read 9"]);
  footer.close();
  stdout.write("after\n");
  assert.deepEqual(screen.lines, ["before", "one", "two", "warning", "after", ""]);
});

test("what a stream is given besides its text, and what it answers, goes through", () => {
  const given: unknown[][] = [];
  const stream = { columns: 20, write: (...written: unknown[]) => given.push(written) < 3 };
  const { write } = stream;
  const footer = new Footer(stream);
  const done = (): void => {};
  assert.equal(stream.write("text\n", done), true);
  assert.deepEqual(given, [["text\n", done]]);
  footer.show("x");
  assert.equal(stream.write("more\n", done), false);
  assert.deepEqual(given[3], ["more\n", done]);
  footer.close();
  assert.equal(stream.write, write);
});

test("a line keeps within the columns of the terminal, which may be resized", () => {
  const screen = new Screen();
  const stream = screen.stream();
  const footer = new Footer(stream);
  assert.equal(footer.columns, 79);
  stream.columns = 1;
  assert.equal(footer.columns, 1);
  stream.columns = 0;
  assert.equal(footer.columns, 79, "a width that is not known");
  footer.close();
});
