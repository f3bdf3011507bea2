/** A value of the float reference: on the device as f32, on the host as a tensor of the IR, or both, made when asked for. */

import * as tf from "@tensorflow/tfjs-core";
import { decodeTensor as decodedValues } from "../ir/evaluate/codes.ts";
import { isPlain, type PlainTensor, plainTensor, type QuantizedTensor, type Tensor } from "../ir/tensor.ts";
import { InvariantError } from "../diagnostics.ts";

/** A quantized value stands on the device as the real numbers that its codes mean. */
export class Held {
  #device: tf.Tensor | undefined;
  #host: Tensor | undefined;
  #transposed: tf.Tensor | undefined;

  private constructor(device: tf.Tensor | undefined, host: Tensor | undefined) {
    this.#device = device;
    this.#host = host;
  }

  static onHost(tensor: Tensor): Held {
    return new Held(undefined, tensor);
  }

  static onDevice(tensor: tf.Tensor): Held {
    return new Held(tf.keep(tensor), undefined);
  }

  device(): tf.Tensor {
    this.#device ??= tf.keep(upload(this.host()));
    return this.#device;
  }

  /** The transpose of a matrix on the device. tfjs multiplies by plain matrices many times faster than by transposed ones. */
  transposed(): tf.Tensor {
    this.#transposed ??= tf.keep(tf.transpose(this.device()));
    return this.#transposed;
  }

  host(): Tensor {
    this.#host ??= this.#download();
    return this.#host;
  }

  /** Whether the value can stand on the device: f32, or codes that mean f32. */
  get isReal(): boolean {
    if (this.#device !== undefined) return true;
    const tensor = this.host();
    return tensor.element === "f32" && tensor.shape.length <= 6;
  }

  dispose(): void {
    this.#device?.dispose();
    this.#device = undefined;
    this.#transposed?.dispose();
    this.#transposed = undefined;
  }

  #download(): PlainTensor<"f32"> {
    if (this.#device === undefined) throw new InvariantError("A value of the reference was read after it was disposed");
    return plainTensor("f32", this.#device.shape, Float32Array.from(this.#device.dataSync()));
  }
}

function upload(tensor: Tensor): tf.Tensor {
  const real = tensor.kind === "quantized" ? decodeTensor(tensor) : tensor;
  if (!isPlain(real, "f32")) throw new InvariantError(`The reference computes in f32, got ${real.element}`);
  return tf.tensor(real.data, [...real.shape], "float32");
}

/** The real numbers that a quantized tensor stands for: (value(code) - zero) * step + offset, each rounded to f32. */
export function decodeTensor(tensor: QuantizedTensor): PlainTensor<"f32"> {
  return plainTensor("f32", tensor.shape, decodedValues(tensor));
}
