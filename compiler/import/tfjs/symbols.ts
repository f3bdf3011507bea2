/** Extents of unnamed input axes: bound by name, or one for a batch. */

import { type Diagnostic, errorDiagnostic } from "../../diagnostics.ts";
import type { GraphBuilder } from "../../ir/build.ts";
import { type Extent, symbolic } from "../../ir/extent.ts";
import { suggestion } from "../fields.ts";
import type { Binding, ImportOptions } from "../model.ts";

/** Hands out extents for axes that a file leaves open, and knows which bindings were asked for. */
export class AxisBinder {
  readonly #asked = new Set<string>();

  constructor(
    readonly builder: GraphBuilder,
    readonly options: ImportOptions,
    readonly diagnostics: Diagnostic[],
  ) {}

  /**
   * The extent of axis `axis` of input `input`. It is bound as `input.axis`, the first axis as `batch` too; an unbound
   * first axis is 1, any other one a fault (Q0465).
   */
  extent(input: string, axis: number): Extent {
    const names = axis === 0 ? [`${input}.0`, "batch"] : [`${input}.${axis}`];
    const name = names.find((candidate) => this.options.bind[candidate] !== undefined);
    names.forEach((candidate) => this.#asked.add(candidate));
    if (name !== undefined) return this.#bound(name, this.options.bind[name]);
    if (axis === 0) return 1;
    this.diagnostics.push(errorDiagnostic("Q0465", `Axis ${axis} of input "${input}" has no fixed extent`, {
      node: input,
      help: `Bind "${names[0]}" to a number or a range`,
    }));
    return 1;
  }

  /** The extent of what is bound under the first of `names` that has a binding; its symbol is called `symbol`. */
  named(symbol: string, names: readonly string[]): Extent {
    names.forEach((candidate) => this.#asked.add(candidate));
    const name = names.find((candidate) => this.options.bind[candidate] !== undefined);
    return name === undefined ? 1 : this.#bound(symbol, this.options.bind[name]);
  }

  /** Bindings that no axis has. */
  reportUnused(): void {
    for (const name of Object.keys(this.options.bind)) {
      if (this.#asked.has(name)) continue;
      this.diagnostics.push(errorDiagnostic("Q0465", `No input has an open axis "${name}"`, {
        node: name,
        help: suggestion(name, this.#asked) ?? `Open axes are ${[...this.#asked].join(", ") || "none"}`,
      }));
    }
  }

  #bound(name: string, binding: Binding): Extent {
    const { min, max } = typeof binding === "number" ? { min: binding, max: binding } : binding;
    if (!(Number.isSafeInteger(min) && Number.isSafeInteger(max) && min >= 1 && max >= min)) {
      this.diagnostics.push(
        errorDiagnostic("Q0465", `"${name}" is bound to ${min}..${max}, wants 1 or more`, { node: name }),
      );
      return 1;
    }
    if (min === max) return min;
    const symbol = name.replace(/[^A-Za-z0-9_]/g, "_").replace(/^(\d)/, "_$1");
    this.builder.symbol(symbol, { min, max });
    return symbolic(symbol);
  }
}
