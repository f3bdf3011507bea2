/** Reads a data set of any kind that the commands take. */

import { basename, extname, join } from "node:path";
import { fail } from "../diagnostics.ts";
import { isStatic, shapeBound } from "../ir/extent.ts";
import { type Graph, typeOf } from "../ir/graph.ts";
import { isArrayFile, listFolder, type NamedArrays, readArrayFolder, readArrays, readIdx } from "./arrays.ts";
import { readDescription } from "./description.ts";
import { imageLayout, type ImageOptions, isImageFile, readImage } from "./images.ts";
import { readLabels } from "./labels.ts";
import { type Sample, samplesOf } from "./samples.ts";
import { type Assets, encoderOf } from "./tokenizer.ts";
import { readTokens, tokenInput } from "./tokens.ts";

export type DataSet =
  | { readonly kind: "samples"; readonly samples: readonly Sample[]; readonly labels?: readonly number[] }
  | { readonly kind: "tokens"; readonly ids: Int32Array };

export interface DataOptions {
  readonly images: ImageOptions;
  readonly limit: number;
  /** Path of class labels, and the column where that is a table. */
  readonly labels?: string;
  readonly labelColumn?: string;
  /** Files beside the model, for its tokenizer. */
  readonly assets: Assets;
}

/** Reads the data at `path` for a model. Throws DiagnosticError. */
export async function readDataSet(path: string, graph: Graph, options: DataOptions): Promise<DataSet> {
  const entries = listFolder(path);
  const tokens = tokenInput(graph) !== undefined;
  if (entries === undefined && tokens && extname(path) !== ".npz" && extname(path) !== ".json") {
    return { kind: "tokens", ids: readTokens(path, encoderOf(options.assets)) };
  }
  const { samples, names, labels } = await readSamples(path, entries, graph, options);
  if (samples.length === 0) fail("Q0903", `"${path}" holds no samples`, { node: path });
  const given = options.labels === undefined
    ? labels
    : readLabels(options.labels, names, options.labelColumn === undefined ? {} : { column: options.labelColumn });
  if (given !== undefined && given.length < samples.length) {
    fail("Q0906", `There are ${given.length} labels for ${samples.length} samples`, { node: options.labels ?? path });
  }
  return { kind: "samples", samples, ...(given === undefined ? {} : { labels: given.slice(0, samples.length) }) };
}

interface FoundSamples {
  readonly samples: readonly Sample[];
  readonly names?: readonly string[];
  readonly labels?: readonly number[];
}

async function readSamples(
  path: string,
  entries: readonly string[] | undefined,
  graph: Graph,
  options: DataOptions,
): Promise<FoundSamples> {
  const { limit } = options;
  if (entries === undefined) {
    if (extname(path).toLowerCase() === ".json") {
      const { arrays, labels } = readDescription(path);
      return { samples: samplesOf(graph, arrays, limit), ...(labels === undefined ? {} : { labels }) };
    }
    if (isImageFile(path)) return await readImages([path], graph, options);
    return { samples: samplesOf(graph, readArrayFile(path), limit) };
  }
  const images = entries.filter(isImageFile).map((name) => join(path, name));
  if (images.length > 0) return await readImages(images, graph, options);
  if (entries.some(isArrayFile)) return { samples: samplesOf(graph, readArrayFolder(path), limit) };
  const folders = entries.map((name) => join(path, name)).filter((child) => listFolder(child)?.some(isArrayFile));
  return { samples: folders.slice(0, limit).flatMap((folder) => samplesOf(graph, readArrayFolder(folder), limit)) };
}

function readArrayFile(path: string): NamedArrays {
  if (/idx\d-ubyte$/.test(path)) return { [basename(path)]: readIdx(path) };
  if (isArrayFile(path)) return readArrays(path);
  return fail("Q0903", `"${path}" is not a data set that Quern reads`, {
    node: path,
    help: "Give a folder of images, .npy, .npz or .pb files, one such file, or a .json that describes raw data",
  });
}

async function readImages(paths: readonly string[], graph: Graph, options: DataOptions): Promise<FoundSamples> {
  const [port, ...others] = graph.inputs;
  const type = port === undefined ? undefined : typeOf(graph, port.value);
  const shape = type?.shape.map((extent, axis) => (isStatic(extent) ? extent : axis === 0 ? 1 : NaN));
  const layout = type === undefined || shape === undefined || others.length > 0 || shape.some(Number.isNaN)
    ? undefined
    : imageLayout(shape, type.element);
  if (layout === undefined) {
    const bounds = type === undefined ? [] : shapeBound(type.shape, graph.symbols);
    return fail("Q0903", `Images do not fit the input "${port?.name}" of shape [${bounds}]`, {
      help: "Images want one input [1, channels, height, width] or [1, height, width, channels]; bind its extents",
    });
  }
  const taken = paths.slice(0, options.limit);
  const samples: Sample[] = [];
  for (const path of taken) samples.push({ [port.name]: await readImage(path, layout, options.images) });
  return { samples, names: taken };
}
