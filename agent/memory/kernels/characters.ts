// What single bytes are to levels(): one byte of flags for each byte value.

export const LETTER: u32 = 1;
export const LOWER: u32 = 2;
export const DIGIT: u32 = 4;
export const NAME: u32 = 8; // may be part of a field's name
export const BEFORE_WORD: u32 = 16; // may stand before a bare level word
export const AFTER_WORD: u32 = 32; // may stand after one
export const BEFORE_NAME: u32 = 64; // may stand before a logfmt field

const flags: usize = memory.data(256, 16);

/** Flags of the byte at p. */
export function flagsAt(p: usize): u32 {
  return load<u8>(flags + load<u8>(p));
}

/** Letters in a row from p, at most `max`. */
export function letters(p: usize, end: usize, max: usize): usize {
  let n: usize = 0;
  while (n < max && p + n < end && flagsAt(p + n) & LETTER) ++n;
  return n;
}

function add(flag: u32, characters: string): void {
  const from = changetype<usize>(characters);
  const units = <usize>characters.length;
  for (let i: usize = 0; i < units; ++i) {
    const at = flags + load<u16>(from + (i << 1));
    store<u8>(at, load<u8>(at) | flag);
  }
}

add(LETTER | NAME, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
add(LETTER | LOWER | NAME, "abcdefghijklmnopqrstuvwxyz");
add(DIGIT | NAME, "0123456789");
add(NAME, "_.@-");
add(BEFORE_WORD, " \t[(<|:,*>])}");
add(AFTER_WORD, " \t\r\n\x1b])>:|,[(/!*");
add(BEFORE_NAME, " \t\r\n,;{([|");
