/**
 * The redact preset `creditCard`: numbers of 13 to 19 digits that begin and are as long as a network's numbers and
 * whose check digit is right (ISO/IEC 7812-1, Luhn), whole or in groups with a space or a dash between them. A number
 * that goes on at either side, as in a hexadecimal id or behind a decimal point, is none.
 */
import { isEscaped } from "./email.ts";

const DIGITS_MIN = 13;
const DIGITS_MAX = 19;
/** Digits of a group before another one. */
const GROUP_DIGITS_MIN = 4;

/** First digits and lengths: Visa, Mastercard, American Express, Diners, JCB, Maestro, and those that begin with 6. */
const NETWORKS = new RegExp(
  `^(?:${[
    "4(?:\\d{12}|\\d{15}|\\d{18})",
    "(?:5[1-5]\\d\\d|222[1-9]|22[3-9]\\d|2[3-6]\\d\\d|27[01]\\d|2720)\\d{12}",
    "3[47]\\d{13}",
    "(?:30[0-5]\\d|3095|36\\d\\d|3[89]\\d\\d)\\d{10,15}",
    "(?:352[89]|35[3-8]\\d)\\d{12,15}",
    "(?:50|5[678])\\d{11,17}",
    "6\\d{12,18}",
  ].join("|")})$`,
);

const SPACE = 32;
const DASH = 45;

/** Whether the bytes [start, end) may hold a card number; looks at every 13th byte as long as that is none of one. */
export function mayHoldCard(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start + DIGITS_MIN - 1; at < end;) {
    let from = at;
    while (at - from < DIGITS_MIN - 1 && isCardByte(bytes[from]!)) from--;
    if (!isCardByte(bytes[from]!)) {
      // bytes[from] is none of a card: the next 13 bytes begin behind it.
      at = from + DIGITS_MIN;
      continue;
    }
    let digits = 0;
    for (at = from; at < end && isCardByte(bytes[at]!); at++) if (isDigit(bytes[at]!)) digits++;
    if (digits >= DIGITS_MIN) return true;
    at += DIGITS_MIN;
  }
  return false;
}

/** Ranges [start, end) of the card numbers in a text, in order: pairs in one list. */
export function findCards(text: string): number[] {
  const found: number[] = [];
  for (let at = 0; at < text.length; at++) {
    if (!isDigit(text.charCodeAt(at))) continue;
    const groups = readGroups(text, at);
    findInGroups(text, groups, found);
    at = groups.at(-1)!;
  }
  return found;
}

/** Starts and ends of digit groups with one separator between them, from `at` on. */
function readGroups(text: string, at: number): number[] {
  const groups: number[] = [];
  for (;;) {
    let end = at;
    while (isDigit(text.charCodeAt(end))) end++;
    groups.push(at, end);
    const separator = text.charCodeAt(end);
    if ((separator !== SPACE && separator !== DASH) || !isDigit(text.charCodeAt(end + 1))) return groups;
    at = end + 1;
  }
}

function findInGroups(text: string, groups: readonly number[], found: number[]): void {
  for (let first = 0; first < groups.length; first += 2) {
    const start = first === 0 ? cardStart(text, groups[0]!) : groups[first]!;
    if (start < 0) continue;
    let digits = "";
    let best = -1;
    for (let last = first; last < groups.length; last += 2) {
      const group = text.slice(last === first ? start : groups[last]!, groups[last + 1]);
      digits += group;
      if (digits.length > DIGITS_MAX) break;
      const ends = last + 2 < groups.length || endsCleanly(text, groups[last + 1]!);
      if (digits.length >= DIGITS_MIN && ends && NETWORKS.test(digits) && isLuhn(digits)) best = last;
      if (group.length < GROUP_DIGITS_MIN) break;
    }
    if (best < 0) continue;
    found.push(start, groups[best + 1]!);
    first = best;
  }
}

/** Where a card number may begin in the digits at `at`; -1: nowhere, as they go on to the left. */
function cardStart(text: string, at: number): number {
  const before = text[at - 1] ?? " ";
  // %20 before the number, of which the digits seem to be a part.
  if (before === "%") return at + 2;
  if (before === "." && isDigit(text.charCodeAt(at - 2))) return -1;
  if (!/[A-Za-z]/.test(before)) return at;
  // The n of a \n in JSON, or the D of a %3D in a URL.
  return isEscaped(text, at - 1) || /%[0-9A-Fa-f]{2}$/.test(text.slice(at - 3, at)) ? at : -1;
}

function endsCleanly(text: string, end: number): boolean {
  const after = text[end] ?? " ";
  if (after === ".") return !isDigit(text.charCodeAt(end + 1));
  return !/[A-Za-z]/.test(after);
}

function isLuhn(digits: string): boolean {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - 48;
    sum += i % 2 === 0 ? digit : digit < 5 ? digit * 2 : digit * 2 - 9;
  }
  return sum % 10 === 0;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isCardByte(code: number): boolean {
  return isDigit(code) || code === SPACE || code === DASH;
}
