import { floatTensor } from "../../compiler/ir/tensor.ts";
import { choiceOption } from "../../compiler/rewrite/options.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { ChannelTensor, Region, ResidualStream } from "../../compiler/rewrite/region/region.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import { hadamardRotation, type Rotation } from "./rotation.ts";
import { scaleObstacle } from "./scale_region.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * Rotates the residual stream (R1) and the value heads (R2) by randomized Hadamard matrices, folded into the weights.
 *
 *   writers  W ↦ Qᵀ·W (rows of the output channels times Q),  readers  W ↦ W·Q,  n(x·Q) = n(x)·Q for an RMS norm without gain
 *   value heads  v ↦ v·R per head,  o columns likewise
 *
 *   down projection (R4)  x ↦ x·T by an op at run time, W ↦ W·T
 *
 * Exact over the reals: Q is orthogonal and an RMS norm sees only the length of a row. Not so a layer norm, which also
 * subtracts the mean (centre it first), nor a norm with a gain (fold it first): both are declined. Never centre the
 * embeddings of an RMS norm model: that changes it. Folded in float64 and cast once. QuaRot, arXiv 2404.00456.
 */
export const rotate = definePass({
  name: "rotate",
  summary: "Rotate the residual stream and the value heads by Hadamard matrices folded into the weights",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {
    residual: choiceOption(["hadamard", "none"], "hadamard", "Rotation of the residual stream (R1)"),
    heads: choiceOption(["hadamard", "none"], "hadamard", "Rotation of every value head (R2)"),
    down: choiceOption(["hadamard", "none"], "none", "Rotation of the down projection's input at run time (R4)"),
  },
  run: (graph, scope) => {
    const { regions, residual, declined } = findRegions(graph);
    const editor = new WeightEditor(graph);
    const refused: Declined[] = declined
      .filter(({ kind }) =>
        (kind === "residual" && scope.options.residual !== "none") ||
        (kind === "valueOutput" && scope.options.heads !== "none")
      )
      .map(({ name, reason }) => ({ rule: "rotate", node: name, reason }));
    let rotated = 0;
    if (scope.options.residual === "hadamard" && residual !== undefined) {
      const obstacle = streamObstacle(editor, residual);
      if (obstacle === undefined) {
        rotateStream(editor, residual, hadamardRotation(residual.channels, scope.seed + 1));
        rotated++;
      } else refused.push({ rule: "rotate", node: graph.name, reason: obstacle });
    }
    const heads = scope.options.heads === "hadamard" ? regions.filter(({ kind }) => kind === "valueOutput") : [];
    for (const [index, region] of heads.entries()) {
      const obstacle = scaleObstacle(editor, region);
      if (obstacle === undefined) {
        rotateHeads(editor, region, hadamardRotation(region.rotationExtent, scope.seed + 2 + index));
        rotated++;
      } else refused.push({ rule: "rotate", node: region.name, reason: obstacle });
    }
    for (const region of scope.options.down === "hadamard" ? regions.filter(({ kind }) => kind === "upDown") : []) {
      const obstacle = scaleObstacle(editor, region);
      if (obstacle === undefined) {
        rotateOnline(editor, region);
        rotated++;
      } else refused.push({ rule: "rotate", node: region.name, reason: obstacle });
    }
    return { graph: editor.finish(), applied: [], declined: refused, metrics: { rotated } };
  },
});

function streamObstacle(editor: WeightEditor, stream: ResidualStream): string | undefined {
  const places = [...stream.writers, ...stream.biases, ...stream.readers];
  const fixed = places.find((place) => !editor.isFloat(place));
  return fixed === undefined ? undefined : `%${fixed.value} is not float32: decode it first`;
}

/** Turns every writer and reader of the stream along its channels. */
export function rotateStream(editor: WeightEditor, stream: ResidualStream, rotation: Rotation): void {
  for (const place of unique([...stream.writers, ...stream.biases, ...stream.readers])) {
    editor.turn(place, rotation.order, rotation.turn);
  }
}

/** Turns each head's value rows and each head's output columns by the same matrix. */
export function rotateHeads(editor: WeightEditor, region: Region, rotation: Rotation): void {
  for (const place of unique([...region.sources, ...region.sinks])) {
    editor.turn(place, rotation.order, rotation.turn);
  }
}

/**
 * Rotates what the region's sinks read at run time: x ↦ x·T in front of each sink, W ↦ W·T in it. The elementwise product
 * in between lets nothing fold into the sources, so the transform costs n log n a row.
 */
export function rotateOnline(editor: WeightEditor, region: Region): void {
  const rotation = hadamardRotation(region.channels, 0);
  const { core, doublings } = rotation.factors;
  const gain = 1 / Math.sqrt(region.channels);
  const matrix = floatTensor([core.order, core.order], core.entries.map((entry) => entry * gain));
  for (const sink of region.sinks) {
    editor.turn(sink, rotation.order, rotation.turn);
    editor.insert(sink.node, 0, (inserter, value) => {
      const constant = inserter.constant(matrix, "rotation");
      return inserter.add("transform", [value, constant], { doublings }, `${value}.rotated`);
    });
  }
}

/** Places by node and operand, each once: a node that two norms reach is turned once. */
function unique(places: readonly ChannelTensor[]): ChannelTensor[] {
  const seen = new Map(places.map((place) => [`${place.node.outputs[0]}#${place.operand}#${place.axis}`, place]));
  return [...seen.values()];
}
