/** Turns the constants of a region by a rotation, and puts what cannot be folded into the graph as `transform` ops. */

import { floatTensor } from "../../compiler/ir/tensor.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import type { ChannelTensor, Region, ResidualStream } from "../../compiler/rewrite/region/region.ts";
import { counterTurnBy, type Rotation, turnBy } from "./rotation.ts";
import type { Inserter, WeightEditor } from "./weight_editor.ts";

/** Turns every writer and reader of the stream along its channels. */
export function rotateStream(editor: WeightEditor, stream: ResidualStream, rotation: Rotation): void {
  for (const place of unique([...stream.writers, ...stream.biases])) {
    editor.turn(place, rotation.order, turnBy(rotation));
  }
  for (const place of unique(stream.readers)) editor.turn(place, rotation.order, counterTurnBy(rotation));
}

/**
 * Turns the value rows of each key-value head, and the output columns of every query head that reads it, by that head's
 * matrix. `rotations` has one entry a key-value head.
 */
export function rotateHeads(editor: WeightEditor, region: Region, rotations: readonly Rotation[]): void {
  const { rotationExtent: extent } = region;
  const [turns, counterTurns] = [rotations.map(turnBy), rotations.map(counterTurnBy)];
  const group = (channel: number) => Math.floor(channel / extent);
  for (const place of unique(region.sources)) {
    editor.turn(place, extent, (vector, channel) => turns[group(channel)](vector));
  }
  for (const place of unique(region.sinks)) {
    editor.turn(place, extent, (vector, channel) => counterTurns[group(channel)](vector));
  }
}

/**
 * Rotates what linears read at run time: x ↦ x·T in front of them, W ↦ W·T⁻ᵀ in them. Readers of one value share the op.
 */
export function rotateOnline(editor: WeightEditor, sinks: readonly ChannelTensor[], rotation: Rotation): void {
  const readers = new Map<ValueName, Node[]>();
  for (const sink of unique(sinks)) {
    editor.turn(sink, rotation.order, counterTurnBy(rotation));
    const [value] = sink.node.inputs;
    readers.set(value, [...readers.get(value) ?? [], sink.node]);
  }
  for (const [value, nodes] of readers) {
    editor.insertShared(nodes, 0, (inserter) => addStages(inserter, value, rotation));
  }
}

/** One `transform` op a stage. */
export function addStages(inserter: Inserter, value: ValueName, { stages }: Rotation): ValueName {
  return stages.reduce((turned, { core, doublings, stride }) => {
    const matrix = inserter.constant(floatTensor([core.order, core.order], core.entries), "rotation");
    return inserter.add("transform", [turned, matrix], { doublings, stride }, `${value}.rotated`);
  }, value);
}

/** Places by node and operand, each once: a node that two norms reach is turned once. */
function unique(places: readonly ChannelTensor[]): ChannelTensor[] {
  const seen = new Map(places.map((place) => [`${place.node.outputs[0]}#${place.operand}#${place.axis}`, place]));
  return [...seen.values()];
}

/** Rotates one operand of one node at run time, with nothing against it: the other side turns alike. */
export function turnBehind(editor: WeightEditor, reader: Node, operand: number, rotation: Rotation): void {
  editor.insert(reader, operand, (inserter, value) => addStages(inserter, value, rotation));
}
