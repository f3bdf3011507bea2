/** Draws lines of text as the recognizer wants them. */

import { fileURLToPath } from "node:url";
import { createCanvas, GlobalFonts } from "@napi-rs/canvas";
import { lineHeight, lineTensor } from "../ocr/recognizer.ts";

const fontFolder = new URL("../../node_modules/dejavu-fonts-ttf/ttf/", import.meta.url);

/** Type faces of npm `dejavu-fonts-ttf`, by file stem. */
export const typefaces = [
  "DejaVuSans",
  "DejaVuSerif",
  "DejaVuSansMono",
  "DejaVuSans-Bold",
  "DejaVuSerif-Bold",
] as const;
export type Typeface = (typeof typefaces)[number];

export interface LineStyle {
  readonly typeface: Typeface;
  /** Height of the letters in pixels. */
  readonly size: number;
  readonly ink: string;
  readonly paper: string;
}

export const defaultStyle: LineStyle = { typeface: "DejaVuSans", size: 30, ink: "#101010", paper: "#fcfcfc" };

function useTypeface(typeface: Typeface): void {
  if (!GlobalFonts.has(typeface)) {
    GlobalFonts.registerFromPath(fileURLToPath(new URL(`${typeface}.ttf`, fontFolder)), typeface);
  }
}

/** Width in pixels that a line needs, margins included. */
export function textWidth(text: string, style: LineStyle = defaultStyle): number {
  useTypeface(style.typeface);
  const context = createCanvas(8, 8).getContext("2d");
  context.font = `${style.size}px ${style.typeface}`;
  return Math.ceil(context.measureText(text).width) + 2 * margin;
}

const margin = 8;

/** A drawn line: PNG bytes to look at, and the tensor [3, 48, width] in -1..1, blue first, that the recognizer reads. */
export interface TextLine {
  readonly png: Uint8Array;
  readonly pixels: Float32Array<ArrayBuffer>;
}

export function drawLine(text: string, width: number, style: LineStyle = defaultStyle): TextLine {
  useTypeface(style.typeface);
  const canvas = createCanvas(width, lineHeight);
  const context = canvas.getContext("2d");
  context.fillStyle = style.paper;
  context.fillRect(0, 0, width, lineHeight);
  context.fillStyle = style.ink;
  context.font = `${style.size}px ${style.typeface}`;
  context.textBaseline = "middle";
  context.fillText(text, margin, lineHeight / 2 + 1);
  const { data } = context.getImageData(0, 0, width, lineHeight);
  const pixels = lineTensor(data, width);
  return { png: new Uint8Array(canvas.toBuffer("image/png")), pixels };
}
