/** What is asked of a KubeModel, where its answers go, and what may befall them on the way. */

export interface Asked {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Where an answer goes. After `end` or `cut`, and when the other side has left, nothing has an effect. */
export interface Line {
  head(status: number, headers?: Record<string, string>): void;
  write(part: string | Buffer): void;
  end(): void;
  cut(): void;
  /** Runs at once when the other side has left already. */
  onClose(run: () => void): void;
}

/** Befalls the next list or watch. */
export type Fault = { on: "list" | "watch" } & (
  | { kind: "status"; code: number; retryAfter?: number; text?: string }
  /** No answer at all. */
  | { kind: "refuse" }
  | { kind: "cut" | "silent"; afterBytes: number }
  | { kind: "slow"; ms: number }
  /** Comes before anything else. */
  | { kind: "insert"; text: string }
  | { kind: "end" }
);

/** The same line, as an object whose methods can be replaced. */
export const bound = (line: Line): Line => ({
  head: (...head) => line.head(...head),
  write: (part) => line.write(part),
  end: () => line.end(),
  cut: () => line.cut(),
  onClose: (run) => line.onClose(run),
});

/** Lets so many bytes through; what comes then is a cut, or nothing for ever. */
export function limited(line: Line, bytes: number, then: "cut" | "silent"): Line {
  let left = bytes;
  return {
    ...bound(line),
    write(whole) {
      const part = Buffer.from(whole as string);
      if (left > 0) line.write(part.subarray(0, left));
      left -= part.length;
      if (left <= 0 && then === "cut") line.cut();
    },
    end() {
      if (left > 0) line.end();
    },
  };
}
