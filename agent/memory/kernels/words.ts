import { DEBUG, ERROR, FATAL, INFO, TRACE, WARN } from "./layout";

// The words that levels() knows, in one hash table: 16 bytes of word, its length, what it is.

/** Kinds: the level in the low three bits, and where the word counts. */
export const LEVEL: u32 = 7;
export const KEY: u32 = 8; // the name of a field that holds the level
export const VALUE: u32 = 16; // a level only as the value of such a field
export const COLON: u32 = 32; // an everyday word: outside of fields only in upper case with a colon behind
export const CAREFUL: u32 = 64; // likewise, but also in brackets and, with a colon, at the head in any case

export const WORD_BYTES_MAX: usize = 16;
const SLOT_BYTES: usize = 32;
const SLOT_BITS: u32 = 8;
const slots: usize = memory.data(8192, 16);
const scratch: usize = memory.data(16, 16);

/** The 16 bytes at p with A..Z made lower case and zeros behind the first n. */
function folded(p: usize, n: usize): v128 {
  const bytes = v128.load(p);
  const upper = i8x16.lt_u(i8x16.sub(bytes, i8x16.splat(65)), i8x16.splat(26));
  const index = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const lower = v128.or(bytes, v128.and(upper, i8x16.splat(32)));
  return v128.and(lower, i8x16.lt_u(index, i8x16.splat(<u8>n)));
}

/** Address of the slot that holds these bytes, or of the empty one where they belong. */
function slotOf(bytes: v128): usize {
  const mixed = (i64x2.extract_lane(bytes, 0) ^ (i64x2.extract_lane(bytes, 1) * 31)) * 0x9e3779b97f4a7c15;
  let slot = <usize>((<u64>mixed) >> (64 - SLOT_BITS));
  let address = slots + slot * SLOT_BYTES;
  while (load<u32>(address, 16) && v128.any_true(v128.xor(bytes, v128.load(address)))) {
    slot = (slot + 1) & ((1 << SLOT_BITS) - 1);
    address = slots + slot * SLOT_BYTES;
  }
  return address;
}

/** Kind of the word of n bytes at p, whatever its case; 0: none that we know. */
export function kindOf(p: usize, n: usize): u32 {
  if (n - 1 >= WORD_BYTES_MAX) return 0;
  return load<u32>(slotOf(folded(p, n)), 16);
}

/** Adds words that are separated by spaces. */
function add(kind: u32, words: string): void {
  const from = changetype<usize>(words);
  const units = <usize>words.length;
  let n: usize = 0;
  for (let i: usize = 0; i <= units; ++i) {
    const unit = i < units ? <u32>load<u16>(from + (i << 1)) : 32;
    if (unit != 32) {
      store<u8>(scratch + n++, unit);
      continue;
    }
    const bytes = folded(scratch, n);
    const slot = slotOf(bytes);
    v128.store(slot, bytes);
    store<u32>(slot, kind, 16);
    n = 0;
  }
}

add(KEY, "level lvl severity log.level log_level loglevel @level levelname severity_text severitytext");
add(TRACE, "trace trc trce trac verbose vrb");
add(DEBUG, "debug dbg dbug debu");
add(INFO, "info inf information informational notice");
add(WARN, "warn warning wrn");
add(ERROR, "error err eror erro severe");
add(FATAL, "fatal ftl fata critical crit panic pnc pani dpanic emerg emergency alert");
add(TRACE | VALUE, "t");
add(DEBUG | VALUE, "d");
add(INFO | VALUE, "i n");
add(WARN | VALUE, "w");
add(ERROR | VALUE, "e");
add(FATAL | VALUE, "f c");
// java.util.logging, and PostgreSQL's LOG.
add(TRACE | COLON, "finest finer");
add(DEBUG | COLON, "fine config");
add(INFO | COLON, "log");
// MySQL's [Note], .NET's fail:
add(INFO | CAREFUL, "note");
add(ERROR | CAREFUL, "fail");
