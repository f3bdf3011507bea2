/**
 * Chooses a region's factors by trial: of several candidates, the one whose block comes out nearest to float when the
 * recipe's later passes round the region's sinks, and what they read. AWQ (arXiv 2306.00978) searches so.
 */

import { shapeBound } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { isPlain, plainTensor, sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";
import type { CalibrationData, PassStep } from "../../compiler/rewrite/pass.ts";
import { blockOf, sinkName } from "../../compiler/rewrite/region/block.ts";
import type { ChannelValue, Region } from "../../compiler/rewrite/region/region.ts";
import { FloatReference, type TensorRecord } from "../../compiler/reference/tfjs.ts";
import { outputsOf, relativeError, roundedTrial, scratchGraph } from "./trial.ts";
import { WeightEditor } from "./weight_editor.ts";

export interface BlockSearch {
  /** Factor vectors to try for a region; the first wins ties. */
  readonly candidates: (region: Region) => readonly Float64Array[];
  readonly later: readonly PassStep[];
  readonly onProgress?: (fraction: number) => void;
}

/** What blocks read is held in memory for as many regions at a time as fit. */
const heldBytes = 2 ** 29;

/** The best factors by region. */
export async function searchBlocks(
  graph: Graph,
  regions: readonly Region[],
  samples: CalibrationData,
  search: BlockSearch,
): Promise<ReadonlyMap<Region, Float64Array>> {
  const chosen = new Map<Region, Float64Array>();
  const blocks = regions.map((region) => ({ region, block: blockOf(graph, region) }));
  for (const group of groupsUnder(blocks, ({ block }) => bytesRead(block) * samples.length)) {
    const inputs = await blockInputs(graph, group.map(({ block }) => block), samples);
    for (const { region, block } of group) {
      const records = samples.map((_, index) => recordOf(block, inputs, index));
      chosen.set(region, await bestOf(block, region, records, search));
      search.onProgress?.(chosen.size / regions.length);
    }
  }
  return chosen;
}

async function bestOf(
  block: Graph,
  region: Region,
  records: readonly TensorRecord[],
  search: BlockSearch,
): Promise<Float64Array> {
  const wanted = await outputsOf(block, records);
  const [first, ...others] = search.candidates(region);
  const lossOf = (factors: Float64Array) => blockLoss(block, region, records, wanted, factors, search.later);
  let best = first;
  let least = await lossOf(first);
  for (const factors of others) {
    const loss = await lossOf(factors);
    if (loss < least) [best, least] = [factors, loss];
  }
  return best;
}

/** How far the block moves when its sinks, scaled by `factors`, are rounded as the recipe will. */
async function blockLoss(
  block: Graph,
  region: Region,
  records: readonly TensorRecord[],
  wanted: readonly TensorRecord[],
  factors: Float64Array,
  later: readonly PassStep[],
): Promise<number> {
  const editor = new WeightEditor(scratchGraph(block));
  for (const sink of region.sinks) editor.scale(sink, factors);
  const scaled = records.map((record) => dividedRecord(record, region.activations, factors));
  const rounded = await roundedTrial(editor.finish(), later, scaled, {
    options: { head: "quantize" },
    selector: { targets: [sinkName], ignore: [] },
  });
  return relativeError(wanted, await outputsOf(rounded, scaled));
}

/** The record with the region's activations divided by the factors. */
function dividedRecord(
  record: TensorRecord,
  activations: readonly ChannelValue[],
  factors: Float64Array,
): TensorRecord {
  const changed = activations.flatMap(({ value, channels }): [string, Tensor][] => {
    const tensor = record[value];
    if (!isPlain(tensor, "f32")) return [];
    const data = tensor.data.map((entry, index) => entry / factors[channels[index % channels.length]]);
    return [[value, plainTensor("f32", tensor.shape, data)]];
  });
  return { ...record, ...Object.fromEntries(changed) };
}

/** Values that blocks read, over the samples. */
async function blockInputs(
  graph: Graph,
  blocks: readonly Graph[],
  samples: CalibrationData,
): Promise<ReadonlyMap<ValueName, readonly Tensor[]>> {
  const seen = new Map<ValueName, Tensor[]>();
  for (const block of blocks) for (const { value } of block.inputs) seen.set(value, []);
  const reference = await FloatReference.create(graph);
  try {
    for (const sample of samples) {
      reference.run(sample, { observe: (value, read) => seen.get(value)?.push(read()) });
    }
  } finally {
    reference.dispose();
  }
  return seen;
}

function recordOf(block: Graph, inputs: ReadonlyMap<ValueName, readonly Tensor[]>, sample: number): TensorRecord {
  return Object.fromEntries(block.inputs.map(({ value }) => [value, (inputs.get(value) ?? [])[sample]]));
}

function bytesRead(block: Graph): number {
  return block.inputs.reduce(
    (sum, { value }) => sum + 4 * sizeOf(shapeBound(typeOf(block, value).shape, block.symbols)),
    0,
  );
}

/** Consecutive groups whose bytes stay under the limit; one that alone passes it stands alone. */
function groupsUnder<T>(items: readonly T[], bytesOf: (item: T) => number): readonly (readonly T[])[] {
  const groups: T[][] = [];
  let held = Infinity;
  for (const item of items) {
    const bytes = bytesOf(item);
    if (held + bytes > heldBytes) {
      groups.push([]);
      held = 0;
    }
    groups[groups.length - 1].push(item);
    held += bytes;
  }
  return groups;
}
