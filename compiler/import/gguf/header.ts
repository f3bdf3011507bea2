/** The header of a GGUF file: metadata and tensor table, parsed by `@huggingface/gguf` and then checked against the file. */

import { GGMLQuantizationType, gguf } from "@huggingface/gguf";
import { type Diagnostic, DiagnosticError, errorDiagnostic, fail } from "../../diagnostics.ts";
import { sizeOf } from "../../ir/tensor.ts";
import type { ByteSource } from "../files.ts";
import type { JsonObject } from "../fields.ts";
import { blockLayouts } from "./blocks.ts";

export interface GgufTensor {
  readonly name: string;
  /** Row-major: the slowest axis first (the file lists the fastest one first). */
  readonly shape: readonly number[];
  /** `Q4_1`, `F32`: ggml's name of the block type; `type 97` for one that ggml has not. */
  readonly type: string;
  /** First byte in the file. */
  readonly offset: number;
  /** Undefined for block types whose size is not known here. */
  readonly length: number | undefined;
}

export interface GgufHeader {
  /** Integers as numbers, also those that the file holds in 64 bits. */
  readonly metadata: JsonObject;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** magic, version, tensor count, metadata count. */
const fixedBytes = 24;
/** Name length, rank, one extent, type, offset; and key length, value type, one byte. */
const leastTensorBytes = 8 + 4 + 8 + 4 + 8;
const leastEntryBytes = 8 + 4 + 1;
const maximumRank = 4;

/** Throws a DiagnosticError (Q0440) that lists what is wrong with the file. */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  checkCounts(source);
  const parsed = await parse(source);
  if (!parsed.littleEndian) wrong(source, "it is big-endian, which is not supported");
  const [, headerEnd] = parsed.tensorInfoByteRange;
  if (headerEnd > source.size) wrong(source, `the header runs past the end of its ${source.size} bytes`);
  const diagnostics: Diagnostic[] = [];
  const tensors = new Map<string, GgufTensor>();
  for (const info of parsed.tensorInfos) {
    const tensor = readTensor(info, Number(parsed.tensorDataOffset));
    const fault = tensorFault(tensor, source, Number(parsed.tensorDataOffset));
    if (fault !== undefined) diagnostics.push(tensorDiagnostic(source, tensor.name, fault));
    if (tensors.has(tensor.name)) diagnostics.push(tensorDiagnostic(source, tensor.name, "is listed twice"));
    tensors.set(tensor.name, tensor);
  }
  if (diagnostics.length === 0) diagnostics.push(...overlaps(source, [...tensors.values()]));
  if (diagnostics.length > 0) throw new DiagnosticError(diagnostics);
  return { metadata: plainNumbers(parsed.metadata), tensors };
}

function wrong(source: ByteSource, message: string): never {
  return fail("Q0440", `"${source.name}" is no readable GGUF file: ${message}`, { node: source.name });
}

function tensorDiagnostic(source: ByteSource, name: string, message: string): Diagnostic {
  return errorDiagnostic("Q0440", `Tensor "${name}" in "${source.name}" ${message}`, { node: name });
}

/** Counts that the file cannot hold are refused before the parser believes them. */
function checkCounts(source: ByteSource): void {
  if (source.size < fixedBytes) wrong(source, `it has ${source.size} bytes, wants ${fixedBytes} for the fixed header`);
  const view = new DataView(source.read(0, fixedBytes).buffer);
  if (view.getUint32(0, false) !== 0x47475546) wrong(source, `it does not begin with "GGUF"`);
  const version = view.getUint32(4, true);
  if (version !== 2 && version !== 3) wrong(source, `version ${version} is not supported, wants 2 or 3`);
  const tensorCount = view.getBigUint64(8, true);
  const entryCount = view.getBigUint64(16, true);
  const needed = tensorCount * BigInt(leastTensorBytes) + entryCount * BigInt(leastEntryBytes);
  if (needed > BigInt(source.size)) {
    wrong(source, `${tensorCount} tensors and ${entryCount} metadata entries do not fit in ${source.size} bytes`);
  }
}

async function parse(source: ByteSource) {
  try {
    // The parser reads ranges of a URL; this one never leaves the process.
    return await gguf("https://model.invalid/model.gguf", { fetch: rangeReader(source) });
  } catch (error) {
    if (error instanceof DiagnosticError) throw error;
    return wrong(source, error instanceof Error ? error.message : String(error));
  }
}

/** Serves `Range` requests from the source. The parser reads ahead, so a little past the end is empty rather than wrong. */
function rangeReader(source: ByteSource): typeof fetch {
  const readAhead = 4_000_000;
  return (_input, init) => {
    const match = /^bytes=(\d+)-(\d+)$/.exec(new Headers(init?.headers).get("range") ?? "");
    if (match === null) return Promise.reject(new TypeError("The GGUF parser asked for no byte range"));
    const begin = Number(match[1]);
    if (begin > source.size + readAhead) wrong(source, `the header runs past the end of its ${source.size} bytes`);
    const end = Math.min(Number(match[2]) + 1, source.size);
    const body = begin < end ? source.read(begin, end - begin) : new Uint8Array(0);
    return Promise.resolve(
      new Response(body, { headers: { "content-range": `bytes ${begin}-${end - 1}/${source.size}` } }),
    );
  };
}

interface TensorInfo {
  readonly name: string;
  readonly shape: readonly bigint[];
  readonly dtype: number;
  readonly offset: bigint;
}

function readTensor(info: TensorInfo, dataStart: number): GgufTensor {
  const type = GGMLQuantizationType[info.dtype] ?? `type ${info.dtype}`;
  const shape = info.shape.map(Number).reverse();
  const layout = Object.hasOwn(blockLayouts, type) ? blockLayouts[type] : undefined;
  const length = layout === undefined ? undefined : sizeOf(shape) / layout.values * layout.bytes;
  return { name: info.name, shape, type, offset: dataStart + Number(info.offset), length };
}

function tensorFault(tensor: GgufTensor, source: ByteSource, dataStart: number): string | undefined {
  const { shape, length, offset } = tensor;
  if (shape.length > maximumRank || shape.length === 0) return `has rank ${shape.length}, wants 1 to ${maximumRank}`;
  if (shape.some((extent) => extent < 1)) return `has shape [${shape}], wants extents of 1 or more`;
  if (!Number.isSafeInteger(sizeOf(shape))) return `has shape [${shape}], which is too large`;
  const values = Object.hasOwn(blockLayouts, tensor.type) ? blockLayouts[tensor.type].values : 1;
  if (shape[shape.length - 1] % values !== 0) {
    return `has rows of ${shape[shape.length - 1]} values, ${tensor.type} wants a multiple of ${values}`;
  }
  if (!Number.isSafeInteger(offset) || offset < dataStart || offset + (length ?? 0) > source.size) {
    return `occupies bytes ${offset}..${offset + (length ?? 0)}, the file has ${source.size}`;
  }
  return undefined;
}

function overlaps(source: ByteSource, tensors: readonly GgufTensor[]): readonly Diagnostic[] {
  const sorted = [...tensors].sort((a, b) => a.offset - b.offset);
  return sorted.flatMap((tensor, index) => {
    const next = sorted[index + 1];
    if (next === undefined || tensor.offset + (tensor.length ?? 0) <= next.offset) return [];
    return [tensorDiagnostic(source, next.name, `overlaps "${tensor.name}"`)];
  });
}

function plainNumbers(metadata: object): JsonObject {
  return Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, plainNumber(value)]));
}

function plainNumber(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  return Array.isArray(value) && typeof value[0] === "bigint" ? value.map(Number) : value;
}
