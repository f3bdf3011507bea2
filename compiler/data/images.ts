/** Reads images as model inputs: fitted to the input's extent, normalized, in its order of axes. */

import { createCanvas, loadImage } from "@napi-rs/canvas";
import { fail } from "../diagnostics.ts";
import { emptyTensor, type PlainTensor } from "../ir/tensor.ts";
import type { ElementType } from "../numeric/element.ts";
import { readBytes } from "./arrays.ts";

/** How pixels become numbers: (pixel * scale - mean) / std, per channel. */
export interface ImageOptions {
  readonly scale: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** `cover` cuts what is over, `contain` pads with black, `stretch` does neither. */
  readonly fit: "cover" | "contain" | "stretch";
  readonly order: "rgb" | "bgr";
}

/** Pixels in 0..1. */
export const plainImages: ImageOptions = { scale: 1 / 255, mean: [0], std: [1], fit: "cover", order: "rgb" };

/** Where the axes of an image input lie. */
export interface ImageLayout {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly channelsFirst: boolean;
  readonly shape: readonly number[];
  readonly element: ElementType;
}

export function isImageFile(path: string): boolean {
  return /\.(jpe?g|png|webp|bmp|gif)$/i.test(path);
}

/** The layout of an input that can hold one image; undefined when it cannot. */
export function imageLayout(shape: readonly number[], element: ElementType): ImageLayout | undefined {
  const inner = shape.length === 4 && shape[0] === 1 ? shape.slice(1) : shape;
  if (inner.length !== 3) return undefined;
  const isChannels = (extent: number) => extent === 1 || extent === 3 || extent === 4;
  const channelsFirst = isChannels(inner[0]) && !(isChannels(inner[2]) && inner[0] >= inner[2]);
  const [channels, height, width] = channelsFirst ? inner : [inner[2], inner[0], inner[1]];
  return isChannels(channels) ? { height, width, channels, channelsFirst, shape, element } : undefined;
}

/** Reads one image. Throws DiagnosticError (Q0902) when the file is not one. */
export async function readImage(path: string, layout: ImageLayout, options: ImageOptions): Promise<PlainTensor> {
  const pixels = await fittedPixels(path, layout, options.fit);
  return pixelsToTensor(pixels, layout, options);
}

async function fittedPixels(
  path: string,
  { width, height }: ImageLayout,
  fit: ImageOptions["fit"],
): Promise<Uint8Array> {
  let image: Awaited<ReturnType<typeof loadImage>>;
  try {
    image = await loadImage(readBytes(path));
  } catch (error) {
    return fail("Q0902", `"${path}" is not an image that Quern reads`, {
      node: path,
      notes: [error instanceof Error ? error.message : String(error)],
    });
  }
  const ratios = [width / image.width, height / image.height];
  const zoom = fit === "cover" ? Math.max(...ratios) : Math.min(...ratios);
  const [across, down] = fit === "stretch" ? [width, height] : [image.width * zoom, image.height * zoom];
  const context = createCanvas(width, height).getContext("2d");
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(image, (width - across) / 2, (height - down) / 2, across, down);
  return new Uint8Array(context.getImageData(0, 0, width, height).data);
}

/** `pixels` are RGBA bytes, row by row. */
export function pixelsToTensor(pixels: Uint8Array, layout: ImageLayout, options: ImageOptions): PlainTensor {
  const { height, width, channels, channelsFirst, shape, element } = layout;
  const tensor = emptyTensor(element, shape);
  const area = height * width;
  for (let position = 0; position < area; position++) {
    for (let channel = 0; channel < channels; channel++) {
      const value = channelValue(pixels, 4 * position, channel, channels, options);
      const target = channelsFirst ? channel * area + position : position * channels + channel;
      const { data } = tensor;
      if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[target] = BigInt(Math.round(value));
      else data[target] = value;
    }
  }
  return tensor;
}

function channelValue(
  pixels: Uint8Array,
  start: number,
  channel: number,
  channels: number,
  { scale, mean, std, order }: ImageOptions,
): number {
  const source = order === "bgr" && channel < 3 ? 2 - channel : channel;
  // Luma of ITU-R BT.601, as image libraries turn colour into grey.
  const pixel = channels === 1
    ? 0.299 * pixels[start] + 0.587 * pixels[start + 1] + 0.114 * pixels[start + 2]
    : pixels[start + source];
  return (pixel * scale - mean[channel % mean.length]) / std[channel % std.length];
}

/** Parses `scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,fit=cover,order=bgr`; undefined when ill-formed. */
export function parseImageOptions(text: string): ImageOptions | undefined {
  let options: ImageOptions = plainImages;
  for (const part of text.split(",").filter((entry) => entry !== "")) {
    const [key, value = ""] = part.split("=");
    const numbers = value.split(":").map(parseNumber);
    const isNumbers = numbers.every(Number.isFinite);
    if (key === "scale" && isNumbers && numbers.length === 1) options = { ...options, scale: numbers[0] };
    else if (key === "mean" && isNumbers) options = { ...options, mean: numbers };
    else if (key === "std" && isNumbers && !numbers.includes(0)) options = { ...options, std: numbers };
    else if (key === "fit" && (value === "cover" || value === "contain" || value === "stretch")) {
      options = { ...options, fit: value };
    } else if (key === "order" && (value === "rgb" || value === "bgr")) options = { ...options, order: value };
    else return undefined;
  }
  return options;
}

function parseNumber(text: string): number {
  const [numerator, denominator = "1"] = text.split("/");
  return text.trim() === "" ? NaN : Number(numerator) / Number(denominator);
}
