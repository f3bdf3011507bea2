/** A place in a text that is being read: the lexical layer of `.qir`. */

/** What is wrong, and where. Parsers throw it inside; their entry points turn it into a diagnostic. */
export class ParseFault extends Error {
  constructor(message: string, readonly position: number) {
    super(message);
    this.name = "ParseFault";
  }
}

/** Invariant: `position` never moves past the end of the text. Comments run from `;` to the end of the line. */
export class TextCursor {
  #position = 0;
  readonly #lineStarts: readonly number[];

  constructor(readonly text: string) {
    this.#lineStarts = lineStarts(text);
  }

  get position(): number {
    return this.#position;
  }

  get atEnd(): boolean {
    this.skipSpace();
    return this.#position >= this.text.length;
  }

  fault(message: string, position = this.#position): never {
    throw new ParseFault(message, position);
  }

  /** Goes to the next thing and returns its position. */
  skipSpace(): number {
    this.#match(/(?:\s+|;[^\n]*)*/y);
    return this.#position;
  }

  /** Goes to the start of the next line; the way on after a fault. */
  skipLine(): void {
    const end = this.text.indexOf("\n", this.#position);
    this.#position = end < 0 ? this.text.length : end + 1;
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.text);
    if (match !== null) this.#position = pattern.lastIndex;
    return match;
  }

  /** Skips space, then takes what the sticky pattern matches, if anything. */
  take(pattern: RegExp): RegExpExecArray | null {
    this.skipSpace();
    return this.#match(pattern);
  }

  /** Whether the next thing is this punctuation; it is not taken. */
  sees(token: string): boolean {
    this.skipSpace();
    return this.text.startsWith(token, this.#position);
  }

  /** Takes the punctuation if it is next. */
  accept(token: string): boolean {
    if (!this.sees(token)) return false;
    this.#position += token.length;
    return true;
  }

  expect(token: string): void {
    if (!this.accept(token)) this.fault(`expected "${token}", found ${this.#next()}`);
  }

  #next(): string {
    const rest = /[\w.]+|\S|$/y;
    rest.lastIndex = this.#position;
    const found = rest.exec(this.text)?.[0] ?? "";
    return found === "" ? "the end" : `"${found}"`;
  }

  word(what: string): string {
    const match = this.take(/[A-Za-z_][\w-]*/y);
    return match === null ? this.fault(`expected ${what}, found ${this.#next()}`) : match[0];
  }

  /** A word, if one is next. */
  acceptWord(word: string): boolean {
    const before = this.skipSpace();
    if (this.#match(/[A-Za-z_][\w-]*/y)?.[0] === word) return true;
    this.#position = before;
    return false;
  }

  /** A JSON string. */
  quoted(what: string): string {
    const match = this.take(/"(?:[^"\\\n]|\\.)*"/y);
    if (match === null) return this.fault(`expected ${what}, found ${this.#next()}`);
    try {
      // The pattern admits string literals only, so a value that parses is a string.
      return JSON.parse(match[0]) as string;
    } catch {
      return this.fault(`${match[0]} is not a valid string`, this.#position - match[0].length);
    }
  }

  number(what: string): number {
    const match = this.take(/-?(?:inf\b|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|nan\b/y);
    if (match === null) return this.fault(`expected ${what}, found ${this.#next()}`);
    return parseNumber(match[0]);
  }

  integer(what: string): number {
    const start = this.skipSpace();
    const value = this.number(what);
    return Number.isSafeInteger(value) ? value : this.fault(`expected ${what}, found ${value}`, start);
  }

  /** An integer of any size. */
  bigint(what: string): bigint {
    const match = this.take(/-?\d+/y);
    return match === null ? this.fault(`expected ${what}, found ${this.#next()}`) : BigInt(match[0]);
  }

  /** `open item, item, ... close`; may be empty. */
  list<T>(open: string, close: string, item: () => T): T[] {
    this.expect(open);
    const items: T[] = [];
    if (this.accept(close)) return items;
    do items.push(item()); while (this.accept(","));
    this.expect(close);
    return items;
  }

  /** Line and column of a position, from 1. */
  locate(position: number): { readonly line: number; readonly column: number } {
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#lineStarts[middle] <= position) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: position - this.#lineStarts[low] + 1 };
  }
}

function lineStarts(text: string): number[] {
  const starts = [0];
  for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", end + 1)) starts.push(end + 1);
  return starts;
}

function parseNumber(text: string): number {
  if (text === "inf") return Infinity;
  if (text === "-inf") return -Infinity;
  return text === "nan" ? NaN : Number(text);
}

/** The inverse of `TextCursor.number`. */
export function printNumber(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (value === Infinity) return "inf";
  if (value === -Infinity) return "-inf";
  return Object.is(value, -0) ? "-0" : String(value);
}

/** A name bare where it can be, as a JSON string else. */
export function printName(name: string): string {
  return /^[A-Za-z0-9_.]+$/.test(name) ? name : JSON.stringify(name);
}

/** The inverse of `printName`. */
export function parseName(cursor: TextCursor, what: string): string {
  return cursor.take(/[A-Za-z0-9_.]+/y)?.[0] ?? cursor.quoted(what);
}
