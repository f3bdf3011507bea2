/**
 * The inner kernel of dense products, as WebAssembly SIMD. Panels of both operands lie packed in the kernel's own memory:
 *
 *   left   [panels][depth][4]         right  [panels][depth][2 lanes]         tiles  [right panel][left panel][4][2 lanes]
 *
 * A tile is 4 rows by two vectors: eight sums that stay in registers over the whole depth. Every entry is summed in the
 * order of the depth, one product and one sum at a time, so results do not depend on the machine.
 */

import binaryen from "binaryen";
import { InvariantError } from "../../diagnostics.ts";

/** What a kernel computes in. */
export type Precision = "f32" | "f64";

/** Rows of a tile, for both precisions. */
export const tileRows = 4;

/** Columns of a tile: two vectors of 16 bytes. */
export function tileColumns(precision: Precision): number {
  return precision === "f32" ? 8 : 4;
}

/** Largest block that one call multiplies: left rows, right columns, depth. */
export const block = { rows: 128, columns: 256, depth: 256 } as const;

/** Packed operands and the product's tiles: views of the kernel's memory, which never grows. */
export interface ProductKernel {
  readonly left: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;
  readonly right: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;
  readonly tiles: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;
  /** Multiplies the packed panels: `tiles` = left · right. */
  readonly multiply: (leftPanels: number, rightPanels: number, depth: number) => void;
}

const made = new Map<Precision, ProductKernel>();

/** The kernel of a precision, assembled at first use. */
export function productKernel(precision: Precision): ProductKernel {
  const known = made.get(precision);
  if (known !== undefined) return known;
  const kernel = instantiate(precision);
  made.set(precision, kernel);
  return kernel;
}

function instantiate(precision: Precision): ProductKernel {
  const width = precision === "f32" ? 4 : 8;
  const sizes = [block.rows * block.depth, block.columns * block.depth, block.rows * block.columns];
  const offsets = [0, sizes[0] * width, (sizes[0] + sizes[1]) * width];
  const bytes = (sizes[0] + sizes[1] + sizes[2]) * width;
  const memory = new WebAssembly.Memory({ initial: bytes / 65536 });
  const module = new WebAssembly.Module(assemble(kernelText(precision)));
  const { multiply } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  if (typeof multiply !== "function") throw new InvariantError("The product kernel exports no function");
  const view = (part: number) =>
    precision === "f32"
      ? new Float32Array(memory.buffer, offsets[part], sizes[part])
      : new Float64Array(memory.buffer, offsets[part], sizes[part]);
  return {
    left: view(0),
    right: view(1),
    tiles: view(2),
    multiply: (leftPanels, rightPanels, depth) =>
      void multiply(offsets[0], offsets[1], offsets[2], leftPanels, rightPanels, depth),
  };
}

function assemble(text: string): Uint8Array<ArrayBuffer> {
  const module = binaryen.parseText(text);
  try {
    module.setFeatures(binaryen.Features.SIMD128);
    if (module.validate() === 0) throw new InvariantError("The product kernel does not validate", "numeric", text);
    return new Uint8Array(module.emitBinary());
  } finally {
    module.dispose();
  }
}

/** The module as WAT. */
export function kernelText(precision: Precision): string {
  const vector = precision === "f32" ? "f32x4" : "f64x2";
  const splat = precision === "f32" ? "v128.load32_splat" : "v128.load64_splat";
  const width = precision === "f32" ? 4 : 8;
  const sums = Array.from({ length: tileRows }, (_, row) => [`$sum${row}a`, `$sum${row}b`]);
  const steps = sums.map(([a, b], row) =>
    `(local.set $entry (${splat} offset=${row * width} (local.get $left)))
        (local.set ${a} (${vector}.add (local.get ${a}) (${vector}.mul (local.get $entry) (local.get $first))))
        (local.set ${b} (${vector}.add (local.get ${b}) (${vector}.mul (local.get $entry) (local.get $second))))`
  );
  const stores = sums.flat().map((sum, index) =>
    `(v128.store offset=${16 * index} (local.get $tiles) (local.get ${sum}))`
  );
  const clears = sums.flat().map((sum) => `(local.set ${sum} (v128.const i64x2 0 0))`);
  return `;; tile = left panel [depth][${tileRows}] x right panel [depth][2 vectors], for every pair of panels
(module
  (import "env" "memory" (memory 1))
  (func (export "multiply")
    (param $leftBase i32) (param $right i32) (param $tiles i32)
    (param $leftPanels i32) (param $rightPanels i32) (param $depth i32)
    (local $left i32) (local $panel i32) (local $step i32) (local $rightBase i32)
    (local $entry v128) (local $first v128) (local $second v128)
    ${sums.flat().map((sum) => `(local ${sum} v128)`).join(" ")}
    (loop $rightPanel
      (local.set $rightBase (local.get $right))
      (local.set $left (local.get $leftBase))
      (local.set $panel (local.get $leftPanels))
      (loop $leftPanel
        ${clears.join("\n        ")}
        (local.set $right (local.get $rightBase))
        (local.set $step (local.get $depth))
        (loop $along
        (local.set $first (v128.load (local.get $right)))
        (local.set $second (v128.load offset=16 (local.get $right)))
        ${steps.join("\n        ")}
        (local.set $left (i32.add (local.get $left) (i32.const ${tileRows * width})))
        (local.set $right (i32.add (local.get $right) (i32.const 32)))
        (br_if $along (local.tee $step (i32.sub (local.get $step) (i32.const 1)))))
        ${stores.join("\n        ")}
        (local.set $tiles (i32.add (local.get $tiles) (i32.const ${32 * tileRows})))
        (br_if $leftPanel (local.tee $panel (i32.sub (local.get $panel) (i32.const 1)))))
      (br_if $rightPanel (local.tee $rightPanels (i32.sub (local.get $rightPanels) (i32.const 1)))))))
`;
}
