/** Draws lines of text as the recognizer wants them, and reads its answers. */

import { fileURLToPath } from "node:url";
import { createCanvas, GlobalFonts } from "@napi-rs/canvas";

export const lineHeight = 48;

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
  const plane = width * lineHeight;
  const pixels = new Float32Array(3 * plane);
  for (let pixel = 0; pixel < plane; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      pixels[channel * plane + pixel] = data[4 * pixel + (2 - channel)] / 127.5 - 1;
    }
  }
  return { png: new Uint8Array(canvas.toBuffer("image/png")), pixels };
}

/** The recognizer's classes: blank, the characters of its key file, and the space. */
export function readAlphabet(keys: string): readonly string[] {
  return ["", ...keys.split("\n").map((key) => key.replace(/\r$/, "")).filter((key) => key !== ""), " "];
}

/** Best-path reading of connectionist temporal classification scores [steps, classes]: repeats merged, blanks dropped. */
export function readBestPath(
  scores: Float32Array,
  alphabet: readonly string[],
): { readonly text: string; readonly path: readonly number[] } {
  const classes = alphabet.length;
  const path = Array.from({ length: scores.length / classes }, (_, step) => {
    let best = 0;
    for (let index = 1; index < classes; index++) {
      if (scores[step * classes + index] > scores[step * classes + best]) best = index;
    }
    return best;
  });
  const kept = path.filter((label, step) => label !== 0 && label !== path[step - 1]);
  return { text: kept.map((label) => alphabet[label]).join(""), path };
}
