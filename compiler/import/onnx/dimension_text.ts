/** Dimension names that are small formulas, as exporters write them: `past + seq`, `2*seq`, `(width - 1)//8 + 1`. */

import { addExtents, type Extent, isStatic, multiplyExtents } from "../../ir/extent.ts";

type Formula =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "binary"; readonly operator: string; readonly x: Formula; readonly y: Formula };

/** Formulas may nest this deep. */
const depthLimit = 50;

/** The symbols of a dimension name: those of its formula, or the name itself where it is none. */
export function namesIn(text: string): readonly string[] {
  const formula = parseFormula(text);
  if (formula === undefined) return [text];
  const names = new Set<string>();
  const visit = (node: Formula): void => {
    if (node.kind === "name") names.add(node.name);
    if (node.kind === "binary") {
      visit(node.x);
      visit(node.y);
    }
  };
  visit(formula);
  return [...names];
}

/** The extent of a dimension name; undefined when a symbol is unknown or the result is not affine in one symbol. */
export function evaluateDimension(text: string, extents: ReadonlyMap<string, Extent>): Extent | undefined {
  const known = extents.get(text);
  if (known !== undefined) return known;
  const formula = parseFormula(text);
  return formula === undefined ? undefined : evaluate(formula, extents);
}

function evaluate(formula: Formula, extents: ReadonlyMap<string, Extent>): Extent | undefined {
  if (formula.kind === "name") return extents.get(formula.name);
  if (formula.kind === "number") return formula.value;
  const x = evaluate(formula.x, extents);
  const y = evaluate(formula.y, extents);
  if (x === undefined || y === undefined) return undefined;
  switch (formula.operator) {
    case "+":
      return addExtents(x, y);
    case "-":
      return isStatic(y) ? addExtents(x, -y) : undefined;
    case "*":
      return multiplyExtents(x, y);
    default:
      return divideExtents(x, y);
  }
}

/** floor(x / y) for a number y, when it is exact or x is a number. */
export function divideExtents(x: Extent, y: Extent): Extent | undefined {
  if (!isStatic(y) || y <= 0) return undefined;
  if (isStatic(x)) return Math.floor(x / y);
  return x.factor % y === 0 && x.offset % y === 0
    ? { symbol: x.symbol, factor: x.factor / y, offset: x.offset / y }
    : undefined;
}

/** Parses sums, products and floor divisions; undefined when the text is a bare name or no formula. */
function parseFormula(text: string): Formula | undefined {
  const tokens = text.match(/\d+|[A-Za-z_][\w.]*|\/\/|[-+*/()]|\S/g) ?? [];
  let position = 0;
  let depth = 0;
  const binaryLevel = (operators: readonly string[], operand: () => Formula | undefined) => (): Formula | undefined => {
    let x = operand();
    while (x !== undefined && operators.includes(tokens[position])) {
      const operator = tokens[position++];
      const y = operand();
      x = y === undefined ? undefined : { kind: "binary", operator: operator === "//" ? "/" : operator, x, y };
    }
    return x;
  };
  const atom = (): Formula | undefined => {
    const token = tokens[position++];
    if (token === undefined) return undefined;
    if (token === "(") {
      if (++depth > depthLimit) return undefined;
      const inner = sum();
      return tokens[position++] === ")" ? inner : undefined;
    }
    if (/^\d/.test(token)) return { kind: "number", value: Number(token) };
    return /^[A-Za-z_]/.test(token) ? { kind: "name", name: token } : undefined;
  };
  const sum = binaryLevel(["+", "-"], binaryLevel(["*", "/", "//"], atom));
  const formula = sum();
  return position === tokens.length && formula?.kind === "binary" ? formula : undefined;
}
