/** What collect sees of a subscription: somebody who takes the records of one chain, at its own pace. */
import type { Chain } from "./chain.ts";

export interface Taker {
  readonly chain: Chain;
  /** Linear offset up to which the chain was read for it. */
  read: number;
  /** Source bytes at or behind `read` that an earlier reading settled or handed over; they are skipped, not taken again. */
  ahead: number;
  /** Source bytes it would take now; 0: none, ask again later. */
  room(): number;
  /** Least linear offset that must be read again after a crash, given the least open one of its reader. */
  oldest(openAt: number): number;
  /** Bytes [from, to) can't be read any more. */
  lost(from: number, to: number, reason: string): void;
  /** Its reader went back to `to`, at or before `read`; records that it has are to be skipped when they come by again. */
  rewound(to: number): void;
  /** The chain has ended and everything in it was read. */
  finished(): void;
}
