import { BITS, END, LEVELS, LEVEL_SHIFT, START, type Level } from "../columns.ts";
import { get, set, type Views } from "./views.ts";

const FIELD_HEAD_BYTES = 4096;
const WORD_HEAD_BYTES = 128;

/** Where a word counts as a level: in any place; only as a field's value; in upper case with a colon (or such a value);
 *  likewise, but in brackets and with a colon at the head as well. */
type Place = "any" | "value" | "colon" | "careful";
interface Word {
  level: Level;
  place: Place;
}

const words = new Map<string, Word>();
function add(level: Level, place: Place, list: string): void {
  for (const word of list.split(" ")) words.set(word, { level, place });
}
add("trace", "any", "trace trc trce trac verbose vrb");
add("debug", "any", "debug dbg dbug debu");
add("info", "any", "info inf information informational notice");
add("warn", "any", "warn warning wrn");
add("error", "any", "error err eror erro severe");
add("fatal", "any", "fatal ftl fata critical crit panic pnc pani dpanic emerg emergency alert");
add("trace", "value", "t");
add("debug", "value", "d");
add("info", "value", "i n");
add("warn", "value", "w");
add("error", "value", "e");
add("fatal", "value", "f c");
add("trace", "colon", "finest finer");
add("debug", "colon", "fine config");
add("info", "colon", "log");
add("info", "careful", "note");
add("error", "careful", "fail");

const FIELD_NAMES = new Set(
  "level lvl severity log.level log_level loglevel @level levelname severity_text severitytext".split(" "),
);

function wordAt(word: string | undefined, ...places: Place[]): Level | undefined {
  const known = word === undefined ? undefined : words.get(word.toLowerCase());
  return known && places.includes(known.place) ? known.level : undefined;
}

const anyValue = (word: string): Level | undefined => wordAt(word, "any", "value", "colon", "careful");

/** How deep the text is at `index`, and whether inside a string; undefined in the middle of an escape. */
function placeAt(text: string, index: number): { depth: number; isQuoted: boolean } | undefined {
  let depth = 0;
  let isQuoted = false;
  let i = 0;
  for (; i < index; i++) {
    const character = text[i]!;
    if (character === '"') isQuoted = !isQuoted;
    else if (isQuoted && character === "\\") i++;
    else if (!isQuoted && "{[".includes(character)) depth++;
    else if (!isQuoted && "}]".includes(character)) depth--;
  }
  return i === index ? { depth, isQuoted } : undefined;
}

const MEMBER = /"([^"]{1,15})"[ \t]*:[ \t]*(?:"([a-z]{1,16})(?![a-z0-9_])|([1-6])0(?=[^a-z0-9_.@-]))/iy;

function jsonLevel(text: string): Level | undefined {
  for (let q = text.indexOf('"', 1); q >= 0 && q < FIELD_HEAD_BYTES; q = text.indexOf('"', q + 1)) {
    MEMBER.lastIndex = q;
    const [, name, word, tens] = MEMBER.exec(text) ?? [];
    if (name === undefined || !FIELD_NAMES.has(name.toLowerCase())) continue;
    const level = tens === undefined ? anyValue(word!) : LEVELS[Number(tens)];
    if (level === undefined) continue;
    // Nothing was opened since the first brace: an own member. Else look closely.
    if (!/[{[]/.test(text.slice(1, q))) return level;
    const place = placeAt(text, q);
    if (place?.depth === 1 && !place.isQuoted) return level;
  }
  return undefined;
}

const PAIR = /(?<=^|[ \t\r\n,;{([|])([\w.@-]{1,16})="?([a-z]{1,16})(?![a-z0-9_])/gi;

/** The first level=… outside of quotes whose = lies before `stop`. */
function logfmtLevel(text: string, stop: number): Level | undefined {
  for (const match of text.matchAll(PAIR)) {
    const [, name, word] = match;
    if (match.index + name!.length >= stop) break;
    if (!FIELD_NAMES.has(name!.toLowerCase())) continue;
    const level = anyValue(word!);
    // In the middle of an escape is inside of quotes, too.
    if (level !== undefined && placeAt(text, match.index)?.isQuoted === false) return level;
  }
  return undefined;
}

function headLevel(text: string): Level | undefined {
  const klog = /^([IWEF])(?:\d{4}|\d{8}) /.exec(text)?.[1];
  if (klog !== undefined) return ({ I: "info", W: "warn", E: "error", F: "fatal" } as const)[klog];
  const priority = Number(/^<(\d{1,3})>/.exec(text)?.[1] ?? 192);
  if (priority < 192) {
    return (["fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug"] as const)[priority & 7];
  }
  const [, colours, word, next] = /^((?:\x1b\[[\d;]{0,10}m){0,3})([a-z]{1,16})([:\x1b])/i.exec(text) ?? [];
  return next === ":" || (next !== undefined && colours !== "") ? wordAt(word, "any", "careful") : undefined;
}

function bracketLevel(rest: string): Level | undefined {
  const [, word, spaces] = /^ {0,4}(?:[\w.@-]{0,24}:)?([a-z]{1,16})( *)\]/i.exec(rest) ?? [];
  return word !== undefined && word.length + spaces!.length <= 24 ? wordAt(word, "any", "careful") : undefined;
}

function bareLevel(text: string, at: number): Level | undefined {
  const [whole, word] =
    /^([A-Z]{1,16})((?<=DEBUG|DBG|DBUG|DEBU|FINE|CONFIG)[1-5])?(?![a-zA-Z])/.exec(text.slice(at)) ?? [];
  if (whole === undefined) return undefined;
  const next = text[at + whole.length];
  const level = next === ":" ? wordAt(word, "any", "colon", "careful") : wordAt(word, "any");
  if (level === undefined || (next !== undefined && !" \t\r\n\x1b])>:|,[(/!*".includes(next))) return undefined;
  const before = text.slice(0, at);
  if (before === "" || /[ \t[(<|:,*>\])}]$/.test(before) || (before.endsWith(".") && next === ":")) return level;
  return /\x1b\[[\d;]{0,10}m$/.test(before) ? level : undefined;
}

/** The first word near the head that is upper case or stands in brackets or between tabs, and where. */
function wordLevel(text: string): { level: Level; at: number } | undefined {
  for (let at = 0; at < Math.min(text.length, WORD_HEAD_BYTES); at++) {
    const character = text[at]!;
    let level: Level | undefined;
    if (character === "[") level = bracketLevel(text.slice(at + 1));
    else if (character === "\t") level = wordAt(/^([a-z]{1,16})\t/i.exec(text.slice(at + 1))?.[1], "any");
    else if (/[A-Z]/.test(character) && !/[A-Z]/.test(text[at - 1] ?? "")) level = bareLevel(text, at);
    if (level !== undefined) return { level, at };
  }
  return undefined;
}

/** Level of a text of which each character is a byte. */
export function levelOf(text: string): Level {
  if (text.startsWith("{")) return jsonLevel(text) ?? "unknown";
  if (/^[\w.@-]{1,64}=/.test(text)) return logfmtLevel(text, FIELD_HEAD_BYTES) ?? "unknown";
  const head = headLevel(text);
  if (head !== undefined) return head;
  const word = wordLevel(text);
  return logfmtLevel(text, word?.at ?? FIELD_HEAD_BYTES) ?? word?.level ?? "unknown";
}

export function levels(views: Views, block: number, cap: number, from: number, to: number): void {
  for (let row = from; row < to; row++) {
    const text = views.bytes.toString("latin1", get(views, block, cap, START, row), get(views, block, cap, END, row));
    const bits = get(views, block, cap, BITS, row) & ~(7 << LEVEL_SHIFT);
    set(views, block, cap, BITS, row, bits | (LEVELS.indexOf(levelOf(text)) << LEVEL_SHIFT));
  }
}
