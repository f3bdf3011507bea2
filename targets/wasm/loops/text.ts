/** WAT text of the loop printer: nested lines, and the layout of long folded expressions. */

/** Lines of a body; a nested list is one level deeper. */
export type Lines = readonly (string | Lines)[];

const widest = 116;

/** Lays lines out, two columns a level; an expression that is too long puts each operand on a line of its own. */
export function layOut(lines: Lines, depth: number): string[] {
  const out: string[] = [];
  const visit = (part: Lines, level: number): void => {
    for (const line of part) {
      if (typeof line === "string") layOutLine(line, level, out);
      else visit(line, level + 1);
    }
  };
  visit(lines, depth);
  return out;
}

function layOutLine(line: string, level: number, out: string[]): void {
  const pad = "  ".repeat(level);
  if (pad.length + line.length <= widest || !line.startsWith("(") || !isBalanced(line)) {
    out.push(pad + line);
    return;
  }
  const parts = splitOperands(line.slice(1, -1));
  let head = "(" + parts[0];
  let next = 1;
  while (next < parts.length && !parts[next].startsWith("(")) head += " " + parts[next++];
  if (next >= parts.length) {
    out.push(pad + line);
    return;
  }
  out.push(pad + head);
  for (; next < parts.length; next++) layOutLine(parts[next], level + 1, out);
  out[out.length - 1] += ")";
}

function isBalanced(line: string): boolean {
  let depth = 0;
  for (const character of line) {
    if (character === "(") depth++;
    else if (character === ")") depth--;
  }
  return depth === 0;
}

/** Splits at spaces outside parentheses. */
function splitOperands(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at <= text.length; at++) {
    const character = text[at];
    if (character === "(") depth++;
    else if (character === ")") depth--;
    else if ((character === " " || character === undefined) && depth === 0) {
      if (at > start) parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return parts;
}
