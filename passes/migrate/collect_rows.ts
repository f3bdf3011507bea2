/** Rows of activations over calibration samples, a bounded number a value, evenly spread. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import type { TensorRecord } from "../../compiler/reference/tfjs.ts";
import { observeSamples } from "../calibrate/observe_samples.ts";

/** `count` rows of `columns` entries each, row-major; a row holds the last axes of the value from `axis` on. */
export interface RowSample {
  readonly columns: number;
  readonly count: number;
  readonly data: Float32Array;
}

/** Which rows of a value are wanted: runs over the axes from `axis` to the last. */
export interface RowRequest {
  readonly value: ValueName;
  readonly columns: number;
}

/** At most `limit` rows of every requested value; what follows the last of them is not computed. The first `skip` positions of each sample are left out. */
export async function collectRows(
  graph: Graph,
  requests: readonly RowRequest[],
  samples: readonly TensorRecord[],
  limit: number,
  skip: number,
  onProgress?: (fraction: number) => void,
): Promise<ReadonlyMap<ValueName, RowSample>> {
  const perSample = Math.max(1, Math.floor(limit / Math.max(1, samples.length)));
  const chunks = new Map(requests.map(({ value }) => [value, [] as Float32Array[]]));
  const columnsOf = new Map(requests.map(({ value, columns }) => [value, columns]));
  await observeSamples(graph, samples, (value) => columnsOf.has(value), (value, { data }) => {
    chunks.get(value)?.push(spreadRows(data, columnsOf.get(value) ?? 1, perSample, skip));
  }, onProgress);
  return new Map([...chunks].map(([value, parts]) => [value, joined(parts, columnsOf.get(value) ?? 1)]));
}

function spreadRows(data: Float32Array, columns: number, count: number, skip: number): Float32Array {
  const rows = data.length / columns;
  const first = Math.min(skip, rows - 1);
  const taken = Math.min(count, rows - first);
  const result = new Float32Array(taken * columns);
  for (let index = 0; index < taken; index++) {
    const row = first + Math.floor(index * (rows - first) / taken);
    result.set(data.subarray(row * columns, (row + 1) * columns), index * columns);
  }
  return result;
}

function joined(parts: readonly Float32Array[], columns: number): RowSample {
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    data.set(part, place);
    place += part.length;
  }
  return { columns, count: data.length / columns, data };
}
