/**
 * Vector functions written out where they are used. Engines build a vector constant from general registers each time it
 * is met, so that in a loop the constants of a called function cost as much as its arithmetic; written out, the caller
 * sets them before the loop.
 */

import { InvariantError } from "../../../compiler/diagnostics.ts";
import { mathFunctions } from "./library.ts";

/** What the caller provides: locals of its own, and a place for constants. */
export interface InlineContext {
  /** A new local, by its wanted name; returns the name it has. */
  readonly local: (stem: string) => string;
  /** A new label. */
  readonly label: (stem: string) => string;
  /** Text that yields a constant such as `(v128.const i32x4 1 1 1 1)`. */
  readonly constant: (text: string) => string;
}

/** Functions that are short enough to be written out at every use. */
const inlined: ReadonlySet<string> = new Set(["exp_f32x4", "log_f32x4", "tanh_f32x4", "erf_f32x4"]);

export function canInline(name: string): boolean {
  return inlined.has(name);
}

interface Parsed {
  readonly parameters: readonly string[];
  readonly locals: readonly string[];
  readonly body: string;
}

/** Parameters, locals and body of a function of the library, whose form is always the same. */
function parse(name: string): Parsed {
  const text = mathFunctions[name]?.wat.split("\n").filter((line) => !/^\s*;;/.test(line)).join(" ").replace(
    /\s+/g,
    " ",
  ).trim();
  const head = text === undefined ? null : /^\(func \$\w+((?: \(param \$\w+ v128\))+) \(result v128\)/.exec(text);
  if (text === undefined || head === null) throw new InvariantError(`${name} is not a function of vectors`);
  const names = (part: string) => [...part.matchAll(/\((?:param|local) \$(\w+) v128\)/g)].map((match) => match[1]);
  let rest = text.slice(head[0].length).trim();
  const locals: string[] = [];
  for (let match = /^\(local \$\w+ v128\) ?/.exec(rest); match !== null; match = /^\(local \$\w+ v128\) ?/.exec(rest)) {
    locals.push(...names(match[0]));
    rest = rest.slice(match[0].length);
  }
  return { parameters: names(head[1]), locals, body: rest.slice(0, -1).trim() };
}

/** An expression that computes the function of these operands. */
export function inlineCall(name: string, operands: readonly string[], context: InlineContext): string {
  const { parameters, locals, body } = parse(name);
  const renamed = new Map(
    [...parameters, ...locals].map((local) => [local, context.local(`${name.split("_")[0]}_${local}`)]),
  );
  const own = body.replace(
    /\(local\.(get|set|tee) \$(\w+)/g,
    (_, verb, local) => `(local.${verb} $${renamed.get(local)}`,
  );
  const constants = own.replace(/\(v128\.const [^)]*\)/g, context.constant);
  const calls = expandCalls(constants, context);
  const sets = parameters.map((parameter, index) => `(local.set $${renamed.get(parameter)} ${operands[index]})`);
  return `(block $${context.label(name)} (result v128) ${[...sets, calls].join(" ")})`;
}

/** Writes out the calls in a body whose callees have one operand. */
function expandCalls(body: string, context: InlineContext): string {
  const start = body.indexOf("(call $");
  if (start < 0) return body;
  const name = /^\(call \$(\w+) /.exec(body.slice(start))?.[1] ?? "";
  const end = closing(body, start);
  const operand = expandCalls(body.slice(start + `(call $${name} `.length, end), context);
  return body.slice(0, start) + inlineCall(name, [operand], context) + expandCalls(body.slice(end + 1), context);
}

/** Place of the parenthesis that closes the one at `start`. */
function closing(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) return at;
  }
  throw new InvariantError("A parenthesis is not closed");
}
