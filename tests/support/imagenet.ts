/** The labelled photographs of `data-imagenet125`, resized and cropped as classifiers of 224 x 224 pixels expect. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { decode } from "jpeg-js";
import { sharedFile } from "./models.ts";

export const imagenetFolder = "data-imagenet125/images";
export const imagenetLabels = "data-imagenet125/labels.tsv";
export const imagenetExtent = 224;

/** Photographs are scaled so that their shorter side has this many pixels, then cropped. */
const shorterSide = 256;

interface Pixels {
  readonly width: number;
  readonly height: number;
  /** RGB, row by row. */
  readonly bytes: Uint8Array;
}

/** RGB bytes [224, 224, 3] of the first `count` photographs in the order of their names. */
export function imagenetCrops(count: number): readonly Uint8Array[] {
  const folder = required(imagenetFolder);
  return readdirSync(folder).sort().slice(0, count).map((name) => crop(decoded(join(folder, name))));
}

/** ImageNet's class index of every photograph, in the order of their names. */
export function imagenetClasses(): readonly number[] {
  const [head, ...rows] = readFileSync(required(imagenetLabels), "utf8").trim().split("\n").map((line) =>
    line.split("\t")
  );
  const [file, index] = [head.indexOf("file"), head.indexOf("imagenet_index")];
  return rows.sort((a, b) => (a[file] < b[file] ? -1 : 1)).map((row) => Number(row[index]));
}

function required(path: string): string {
  const found = sharedFile(path);
  if (found === undefined) throw new Error(`${path} is not among the shared models`);
  return found;
}

function decoded(path: string): Pixels {
  const { width, height, data } = decode(readFileSync(path), { useTArray: true, formatAsRGBA: false });
  return { width, height, bytes: data };
}

function crop(photograph: Pixels): Uint8Array {
  const zoom = shorterSide / Math.min(photograph.width, photograph.height);
  const width = Math.round(photograph.width * zoom);
  const height = Math.round(photograph.height * zoom);
  const { bytes } = resizedRows(resizedColumns(photograph, width), height);
  const [top, left] = [height, width].map((extent) => Math.floor((extent - imagenetExtent) / 2));
  const rows = Array.from({ length: imagenetExtent }, (_, row) => {
    const start = 3 * ((top + row) * width + left);
    return bytes.subarray(start, start + 3 * imagenetExtent);
  });
  const result = new Uint8Array(3 * imagenetExtent ** 2);
  rows.forEach((row, index) => result.set(row, index * 3 * imagenetExtent));
  return result;
}

/** Weights of one output pixel: a triangle about its centre, as wide as two of its pixels in the source where it shrinks. */
function triangle(
  from: number,
  to: number,
  index: number,
): { readonly first: number; readonly weights: readonly number[] } {
  const ratio = from / to;
  const reach = Math.max(1, ratio);
  const centre = (index + 0.5) * ratio;
  const first = Math.max(0, Math.floor(centre - reach + 0.5));
  const last = Math.min(from, Math.floor(centre + reach + 0.5));
  const raw = Array.from(
    { length: last - first },
    (_, tap) => Math.max(0, 1 - Math.abs((first + tap + 0.5 - centre) / reach)),
  );
  const sum = raw.reduce((total, weight) => total + weight, 0);
  return { first, weights: raw.map((weight) => weight / sum) };
}

function resizedColumns({ width, height, bytes }: Pixels, to: number): Pixels {
  const result = new Uint8ClampedArray(3 * to * height);
  for (let column = 0; column < to; column++) {
    const { first, weights } = triangle(width, to, column);
    for (let row = 0; row < height; row++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        weights.forEach((weight, tap) => sum += weight * bytes[3 * (row * width + first + tap) + channel]);
        result[3 * (row * to + column) + channel] = sum;
      }
    }
  }
  return { width: to, height, bytes: new Uint8Array(result.buffer) };
}

function resizedRows({ width, height, bytes }: Pixels, to: number): Pixels {
  const result = new Uint8ClampedArray(3 * width * to);
  for (let row = 0; row < to; row++) {
    const { first, weights } = triangle(height, to, row);
    for (let entry = 0; entry < 3 * width; entry++) {
      let sum = 0;
      weights.forEach((weight, tap) => sum += weight * bytes[3 * (first + tap) * width + entry]);
      result[3 * row * width + entry] = sum;
    }
  }
  return { width, height: to, bytes: new Uint8Array(result.buffer) };
}
