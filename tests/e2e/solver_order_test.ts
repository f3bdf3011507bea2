/** The order of the solvers on the layers of real models, each against the inputs that calibration text gives it. */

import assert from "node:assert/strict";
import { readTokens, tokenSamples } from "../../compiler/data/tokens.ts";
import { importNamed } from "../../compiler/driver.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { isPlain, type PlainTensor } from "../../compiler/ir/tensor.ts";
import { intFormat } from "../../compiler/numeric/number_format.ts";
import { addGram, type Matrix, mirror, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { decodeTensor } from "../../compiler/reference/held.ts";
import { FloatReference } from "../../compiler/reference/tfjs.ts";
import { encodeTensor } from "../../passes/quantize/encode_tensor.ts";
import { coordinateDescent } from "../../passes/solve/coordinate_descent.ts";
import { gptq, outputError } from "../../passes/solve/gptq.ts";
import { tensorGrid } from "../../passes/solve/tensor_grid.ts";
import { sharedTest } from "../support/models.ts";

interface Layer {
  readonly name: string;
  readonly weights: PlainTensor<"f32">;
  readonly hessian: Matrix;
}

/** Linears with weights [N, K] and the Gram matrices of their inputs over some windows of text. */
async function layersOf(graph: Graph, ids: Int32Array): Promise<readonly Layer[]> {
  const constants = new Map(
    graph.nodes.flatMap((node) => (node.op === "constant" ? [[node.outputs[0], node.attributes.hash] as const] : [])),
  );
  const linears = graph.nodes.flatMap((node) => {
    if (node.op !== "matmul" || !node.attributes.transposeB) return [];
    const hash = constants.get(node.inputs[1]);
    const weights = hash === undefined ? undefined : graph.constants.get(hash);
    if (weights === undefined || !isPlain(weights, "f32")) return [];
    return [{ name: node.outputs[0], input: node.inputs[0], weights }];
  });
  const grams = new Map<ValueName, Matrix>();
  const wanted = new Set(linears.map(({ input }) => input));
  const reference = await FloatReference.create(graph);
  for (const sample of tokenSamples(graph, ids, 256, 8)) {
    reference.run(sample, {
      observe: (value, read) => {
        if (!wanted.has(value)) return;
        const tensor = read();
        assert.ok(isPlain(tensor, "f32"));
        const columns = tensor.shape[tensor.shape.length - 1];
        const gram = grams.get(value) ?? zeroMatrix(columns, columns);
        addGram(gram, tensor.data, tensor.data.length / columns);
        grams.set(value, gram);
      },
    });
  }
  reference.dispose();
  for (const gram of grams.values()) mirror(gram);
  return linears.map(({ name, input, weights }) => {
    const hessian = grams.get(input);
    assert.ok(hessian !== undefined);
    return { name, weights, hessian };
  });
}

sharedTest(
  "on every linear of stories260k: GPTQ errs less than round to nearest, coordinate descent no more, H = I rounds",
  ["stories260k", "stories260k/calib_ids.u16"],
  async ([folder, text]) => {
    const imported = await importNamed({ model: folder, recipe: "as-is", bind: { seq: 256, total: 256 } });
    assert.ok(imported.ok);
    const layers = await layersOf(imported.value.graph, readTokens(text, undefined));
    assert.ok(layers.length >= 35);
    for (const { name, weights, hessian } of layers) {
      const [rows, columns] = weights.shape;
      const whole: Matrix = { rows, columns, entries: new Float64Array(weights.data) };
      for (const bits of [3, 4]) {
        const scheme = {
          format: intFormat(bits, true),
          block: [1, "all"] as const,
          step: "f32" as const,
          zeroPoint: false,
          range: "static" as const,
        };
        const nearest = encodeTensor(weights, { scheme, clip: "search" });
        const rounded = { ...whole, entries: new Float64Array(decodeTensor(nearest).data) };
        const swept = gptq(whole, hessian, tensorGrid(nearest)).weights;
        const polished = coordinateDescent(whole, swept, hessian, tensorGrid(nearest), 2);
        const [first, second, third] = [rounded, swept, polished].map((each) => outputError(whole, each, hessian));
        assert.ok(second < first, `${name} at ${bits} bits: GPTQ ${second}, round to nearest ${first}`);
        // The descent follows its gradient in float64; what it adds up to may differ from the error by rounding alone.
        assert.ok(third <= second * (1 + 1e-9), `${name} at ${bits} bits: descent ${third}, GPTQ ${second}`);
        const identity = zeroMatrix(columns, columns);
        for (let i = 0; i < columns; i++) identity.entries[i * columns + i] = 1;
        const plain = gptq(whole, identity, tensorGrid(nearest)).weights.entries;
        assert.deepEqual(new Float32Array(plain), new Float32Array(rounded.entries));
      }
    }
  },
);
