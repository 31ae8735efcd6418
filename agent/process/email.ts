/**
 * The redact preset `email`: addresses as people write them in logs, also percent-encoded in URLs
 * (bob%40example.com). Bounded by what surrounds them, so it is found by hand in one pass: left from the @ over what
 * a local part is made of, right over labels, of which there are at least two and the last begins with a letter.
 */

/** Each address holds one of these. */
export const EMAIL_LITERALS = ["@", "%40"] as const;

const LOCAL = asciiTable("._%+-");
const DOMAIN = asciiTable(".-");
const BACKSLASH = 92;

/** Ranges [start, end) of the addresses in a text, in order: pairs in one list. */
export function findEmails(text: string): number[] {
  const found: number[] = [];
  const [plain, encoded] = EMAIL_LITERALS;
  let [at, encodedAt] = [text.indexOf(plain), text.indexOf(encoded)];
  // What lies before `from` was an address, or belongs to the @ before.
  for (let from = 0; at >= 0 || encodedAt >= 0;) {
    const isPlain = encodedAt < 0 || (at >= 0 && at < encodedAt);
    const index = isPlain ? at : encodedAt;
    const domain = index + (isPlain ? plain : encoded).length;
    const end = domainEnd(text, domain);
    const start = end > 0 ? localStart(text, from, index) : index;
    if (start < index) found.push(start, end);
    from = Math.max(domain, end);
    if (at >= 0 && at < from) at = text.indexOf(plain, from);
    if (encodedAt >= 0 && encodedAt < from) encodedAt = text.indexOf(encoded, from);
  }
  return found;
}

function localStart(text: string, from: number, at: number): number {
  let start = at;
  while (start > from && isPart(text, start - 1, LOCAL)) start--;
  // In JSON the n of a \n before the address is no part of it.
  if (isEscaped(text, start)) start += text[start] === "u" ? 5 : 1;
  while (start < at && text[start] === ".") start++;
  return Math.min(start, at);
}

/** Address after the domain that begins at `from`, or 0 when there is none. */
function domainEnd(text: string, from: number): number {
  let end = from;
  while (end < text.length && isPart(text, end, DOMAIN)) end++;
  // A full stop, or a last label such as 1, belongs to the sentence.
  for (let label = end; end > from; end = label) {
    while (label > from && text[label - 1] !== ".") label--;
    if (label === from) return 0;
    let last = end;
    while (last > label && text[last - 1] === "-") last--;
    if (last - label >= 2 && isLetter(text, label) && label - 1 > from) return last;
    label--;
  }
  return 0;
}

/** Whether a backslash escapes the character at `at`. */
export function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
  return backslashes % 2 === 1;
}

function isPart(text: string, at: number, ascii: Uint8Array): boolean {
  const unit = text.charCodeAt(at);
  return unit < 128 ? ascii[unit] === 1 : isLetter(text, at);
}

/** Letters of any script in the BMP, and digits of scripts other than Latin. */
function isLetter(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  const small = unit | 32;
  return unit < 128 ? small >= 97 && small <= 122 : /[\p{L}\p{M}\p{N}]/u.test(text[at]!);
}

function asciiTable(more: string): Uint8Array {
  const table = new Uint8Array(128);
  for (let code = 0; code < 128; code++) {
    const character = String.fromCharCode(code);
    if (/[A-Za-z0-9]/.test(character) || more.includes(character)) table[code] = 1;
  }
  return table;
}
