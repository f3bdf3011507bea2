/** Tells what a model path holds, by its first bytes and its name. */

import { basename, extname } from "node:path";
import type { ModelFormat } from "./model.ts";

/** A format that an importer reads, or what the file seems to be and what to do about it. */
export type SourceKind =
  | { readonly format: ModelFormat }
  | { readonly looksLike: string; readonly help: string };

interface Signature {
  readonly offset: number;
  readonly bytes: string;
  readonly looksLike: string;
  readonly help: string;
}

const exportHelp = "Export the model to ONNX (torch.onnx.export, optimum-cli, tf2onnx) and give that file";

/** Files that are recognized so that the message can say what they are. */
const foreign: readonly Signature[] = [
  { offset: 4, bytes: "TFL3", looksLike: "a TensorFlow Lite model", help: "Convert it to ONNX with tf2onnx --tflite" },
  {
    offset: 0,
    bytes: "version https://git-lfs",
    looksLike: "a Git LFS pointer, not the file that it points to",
    help: "Fetch the file itself with git lfs pull",
  },
  { offset: 0, bytes: "PK\x03\x04", looksLike: "a zip archive, perhaps a PyTorch checkpoint", help: exportHelp },
  { offset: 0, bytes: "\x80\x02", looksLike: "a Python pickle, perhaps a PyTorch checkpoint", help: exportHelp },
  { offset: 0, bytes: "\x89HDF", looksLike: "an HDF5 file, perhaps a Keras model", help: exportHelp },
  { offset: 0, bytes: "\x1f\x8b", looksLike: "a gzip archive", help: "Unpack it first" },
  { offset: 0, bytes: "\x93NUMPY", looksLike: "a NumPy array", help: "Arrays are for --calibration and --data" },
  { offset: 0, bytes: "<!DOCTYPE", looksLike: "a web page", help: "The download gave a page instead of the file" },
  { offset: 0, bytes: "<html", looksLike: "a web page", help: "The download gave a page instead of the file" },
];

/** Bytes of the start of a file that `fileKind` wants to see. */
export const headLength = 4096;

/** The kind of a file from its name and its first bytes (up to `headLength`). */
export function fileKind(path: string, head: Uint8Array): SourceKind {
  // One character for each byte; the text decoders' "latin1" maps 0x80 to 0x9f elsewhere.
  const text = Array.from(head, (byte) => String.fromCharCode(byte)).join("");
  if (text.startsWith("GGUF")) return { format: "gguf" };
  const known = foreign.find(({ offset, bytes }) => text.startsWith(bytes, offset));
  if (known !== undefined) return known;
  switch (extname(path).toLowerCase()) {
    case ".onnx":
    case ".ort":
      return text.startsWith("ORTM", 4)
        ? { looksLike: "a model in onnxruntime's own format", help: "Give the .onnx file that it was made from" }
        : { format: "onnx" };
    case ".qir":
      return { format: "qir" };
    case ".gguf":
      return { looksLike: "a .gguf file without the GGUF mark", help: "Check that the download is complete" };
    case ".json":
      return jsonKind(path, text);
  }
  return unnamedKind(text);
}

function jsonKind(path: string, text: string): SourceKind {
  if (/"(modelTopology|weightsManifest)"/.test(text) || /"format"\s*:\s*"graph-model"/.test(text)) {
    return { format: "tfjs" };
  }
  if (/"(architectures|model_type)"/.test(text) && basename(path) === "config.json") return { format: "safetensors" };
  return {
    looksLike: "JSON that is neither a TensorFlow.js model.json nor a Hugging Face config.json",
    help: "Give the model.json of a graph model, or the folder that holds config.json",
  };
}

function unnamedKind(text: string): SourceKind {
  if (/^[\s\S]{8}\{"/.test(text)) {
    return {
      looksLike: "a safetensors file",
      help: "Give the folder that holds it with its config.json",
    };
  }
  if (/^\s*(;.*\n\s*)*graph @/.test(text)) return { format: "qir" };
  // The first field of an ONNX model is its ir_version, a small varint.
  if (text.charCodeAt(0) === 8 && text.charCodeAt(1) > 0 && text.charCodeAt(1) <= 32) return { format: "onnx" };
  return {
    looksLike: "no model that Quern reads",
    help: "Quern reads .onnx, .gguf, .qir, a TensorFlow.js model.json, or a Hugging Face folder",
  };
}
