/** Ops over long rows: what the WebGPU kernels that share rows in workgroups are tested on. */

import { GraphBuilder } from "../../compiler/ir/build.ts";
import { symbolic } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { OpAttributes, OpName, ValueName } from "../../compiler/ir/node.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { int4, int8, uint8 } from "../../compiler/numeric/number_format.ts";
import { perToken } from "../../compiler/numeric/scheme.ts";

export interface WorkgroupCase {
  readonly op: OpName;
  readonly name: string;
  readonly build: (b: GraphBuilder) => ValueName;
  /** Symbols of runs one after the other. */
  readonly runs?: readonly Readonly<Record<string, number>>[];
}

type Element = Parameters<typeof tensorType>[0];

function reduce(
  kind: OpAttributes["reduce"]["kind"],
  element: Element,
  shape: number[],
  axes: number[],
): WorkgroupCase {
  return {
    op: "reduce",
    name: `${kind} of ${element} [${shape}] over ${axes}`,
    build: (b) => b.add("reduce", [b.input("x", tensorType(element, shape))], { kind, axes, keepAxes: false }),
  };
}

function norm(kind: "layer" | "rms", shape: readonly number[], affine: number): WorkgroupCase {
  return {
    op: "norm",
    name: `${kind} norm of [${shape}] with ${affine} of gain and bias`,
    build: (b) => {
      const width = shape[shape.length - 1];
      const names = ["gain", "bias"].slice(0, affine);
      const inputs = names.map((name) => b.input(name, tensorType("f32", [width])));
      return b.add("norm", [b.input("x", tensorType("f32", shape)), ...inputs], {
        kind,
        axis: shape.length - 1,
        epsilon: 1e-5,
      });
    },
  };
}

function quantize(format: typeof int8, zeroPoint: boolean, shape: readonly number[]): WorkgroupCase {
  return {
    op: "quantize",
    name: `dynamic quantize of [${shape}] to ${JSON.stringify(format)}${zeroPoint ? " with zero" : ""}`,
    build: (b) =>
      b.add("quantize", [b.input("x", tensorType("f32", shape))], {
        scheme: { format, block: perToken(shape.length), step: "f32", zeroPoint, range: "dynamic" },
      }),
  };
}

interface AttentionCase {
  readonly keys: number;
  readonly shared: number;
  readonly mask?: "f32" | "bool";
  readonly attributes: Partial<OpAttributes["attention"]>;
}

function attention(name: string, { keys, shared, mask, attributes }: AttentionCase): WorkgroupCase {
  const [rows, groups, width] = [3, 2, 5];
  return {
    op: "attention",
    name: `attention ${name}`,
    build: (b) => {
      const q = b.input("q", tensorType("f32", [1, rows, groups * shared, width]));
      const k = b.input("k", tensorType("f32", [1, keys, groups, width]));
      const v = b.input("v", tensorType("f32", [1, keys, groups, 7]));
      const masks = mask === undefined ? [] : [b.input("mask", tensorType(mask, [rows, keys]))];
      return b.add("attention", [q, k, v, ...masks], {
        scale: 0.4,
        causal: false,
        softcap: 0,
        window: 0,
        ...attributes,
      });
    },
  };
}

/** A cache that grows run by run: 5 positions, then one, then 7 more. */
const cachedAttention: WorkgroupCase = {
  op: "attention",
  name: "attention over a cache",
  runs: [{ seq: 5 }, { seq: 1 }, { seq: 7 }],
  build: (b) => {
    b.symbol("seq", { min: 1, max: 8 });
    b.symbol("past", { min: 0, max: 63 });
    b.symbol("total", { min: 1, max: 64 });
    const q = b.input("q", tensorType("f32", [1, symbolic("seq"), 4, 6]));
    const cached = (name: string) => {
      const x = b.input(name, tensorType("f32", [1, symbolic("seq"), 2, 6]));
      b.state({ name, type: tensorType("f32", [1, symbolic("total"), 2, 6]), axis: 1 });
      return b.add("append", [x], { state: name, axis: 1 });
    };
    return b.add("attention", [q, cached("k"), cached("v")], { scale: 0.5, causal: true, softcap: 0, window: 0 });
  },
};

function transform(extent: number, doublings: number, stride: number, shape: readonly number[]): WorkgroupCase {
  return {
    op: "transform",
    name: `transform of runs of ${extent} * 2^${doublings} * ${stride} in [${shape}]`,
    build: (b) => {
      const core = b.input("core", tensorType("f32", [extent, extent]));
      return b.add("transform", [b.input("x", tensorType("f32", shape)), core], { doublings, stride });
    },
  };
}

function argReduce(kind: "max" | "min", element: Element, shape: readonly number[], last: boolean): WorkgroupCase {
  return {
    op: "argReduce",
    name: `arg${kind} of ${element} [${shape}]${last ? ", last of equals" : ""}`,
    build: (b) =>
      b.add("argReduce", [b.input("x", tensorType(element, shape))], { kind, axis: 1, keepAxes: false, last }),
  };
}

type Cell = OpAttributes["recurrent"]["cell"];

/** Steps of a cell over 5 inputs; the loops of the workgroup are as long as its state. */
function recurrent(cell: Cell, direction: OpAttributes["recurrent"]["direction"], batch: number): WorkgroupCase {
  const [steps, width, hidden] = [5, 7, 40];
  const gates = { lstm: 4, gru: 3, rnn: 1 }[cell] * hidden;
  const activations = {
    lstm: ["sigmoid", "tanh", "tanh"],
    gru: ["sigmoid", "tanh"],
    rnn: ["tanh"],
  } as const;
  return {
    op: "recurrent",
    name: `${cell} ${direction} over [${[steps, batch, width]}]`,
    build: (b) => {
      const f32 = (name: string, ...shape: number[]) => b.input(name, tensorType("f32", shape));
      const inputs = [
        f32("x", steps, batch, width),
        f32("w", 1, gates, width),
        f32("r", 1, gates, hidden),
        f32("bias", 1, 2 * gates),
        f32("initialH", 1, batch, hidden),
        ...(cell === "lstm" ? [f32("initialC", 1, batch, hidden)] : []),
      ];
      return b.add("recurrent", inputs, {
        cell,
        direction,
        activations: activations[cell],
        clip: 0,
        linearBeforeReset: false,
        coupledGates: false,
      });
    },
  };
}

export const workgroupCases: readonly WorkgroupCase[] = [
  argReduce("max", "f32", [2, 577], false),
  argReduce("min", "i8", [3, 700], true),
  argReduce("max", "u8", [2, 700], false),
  reduce("sum", "f32", [3, 577], [1]),
  // Mesa's software rasterizer leaves all loops of an invocation after 65535 rounds in all: no invocation may go that far.
  reduce("sum", "i32", [2, 200_000], [1]),
  reduce("sum", "i64", [2, 33], [1]),
  reduce("sum", "f64", [40], [0]),
  reduce("max", "f32", [2, 65, 5], [1]),
  reduce("min", "i8", [3, 70], [1]),
  reduce("prod", "f32", [37, 2], [0]),
  reduce("sum", "f16", [4, 9, 3, 9], [1, 3]),
  norm("rms", [3, 576], 1),
  norm("layer", [1, 130], 2),
  norm("layer", [2, 2, 33], 0),
  {
    op: "softmax",
    name: "softmax along the middle axis",
    build: (b) => b.add("softmax", [b.input("x", tensorType("f32", [2, 70, 3]))], { axis: 1 }),
  },
  {
    op: "softmax",
    name: "softmax of f16",
    build: (b) => b.add("softmax", [b.input("x", tensorType("f16", [1, 200]))], { axis: 1 }),
  },
  recurrent("lstm", "forward", 1),
  recurrent("lstm", "reverse", 2),
  recurrent("gru", "forward", 2),
  recurrent("rnn", "reverse", 1),
  quantize(int8, false, [3, 577]),
  quantize(uint8, true, [1, 65]),
  quantize(int4, true, [2, 2, 100]),
  transform(1, 6, 1, [2, 128]),
  transform(3, 4, 1, [5, 48]),
  transform(3, 1, 8, [5, 48]),
  attention("over all keys, grouped", { keys: 40, shared: 2, attributes: {} }),
  attention("with a window", { keys: 75, shared: 1, attributes: { causal: true, window: 33 } }),
  attention("with softcap and a mask", { keys: 37, shared: 1, mask: "f32", attributes: { softcap: 3 } }),
  attention("with a bool mask", { keys: 66, shared: 3, mask: "bool", attributes: {} }),
  cachedAttention,
];

export function workgroupGraph({ op, build }: WorkgroupCase): Graph {
  const b = new GraphBuilder(op);
  b.output("y", build(b));
  return b.finish(op === "quantize" ? "quant" : undefined);
}
