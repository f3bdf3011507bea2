/** Lines of text that show the quantizer what the recognizer sees: several faces, sizes, inks and papers. */

import { drawLine, type LineStyle, typefaces } from "./text_line.ts";

const sentences = [
  "The quick brown fox jumps over the lazy dog",
  "Total amount due: $1,284.50 by 2026-12-31",
  "Terms & conditions apply (see page 12)",
  "ISBN 978-3-16-148410-0",
  "Flight LH 2041 departs 07:45 from gate B16",
  "Caution: high voltage! Keep clear",
  "https://example.org/path?query=value",
  "North-East Regional Museum of Modern Art",
  "Mix 250 g of flour with 3 eggs",
  "Serial no. A7F-99312-XQ",
  "Room 404, second floor, turn left",
  "Call +44 20 7946 0958 for help",
  "Best before 08/2027 - store in a dry place",
  "Chapter 7: Small numbers, large effects",
  "PLEASE MIND THE GAP",
  "e = mc^2, x < y, 100% of 3/4",
];

const inks = ["#101010", "#1c2b5a", "#5a1c1c", "#f4f4f4"];
const papers = ["#fcfcfc", "#efe7d3", "#e4eef5", "#26303a"];

/** Pixels of every line at this width. */
export function calibrationLines(width: number): Float32Array<ArrayBuffer>[] {
  return sentences.map((sentence, index) => {
    const shade = index % inks.length;
    const style: LineStyle = {
      typeface: typefaces[index % typefaces.length],
      size: 24 + 3 * (index % 4),
      ink: inks[shade],
      paper: papers[shade],
    };
    return drawLine(sentence, width, style).pixels;
  });
}
