/** Resampling tables: which input entries, with which weights, make each output entry along one axis. */

export type CoordinateMode =
  | "half_pixel"
  | "half_pixel_symmetric"
  | "pytorch_half_pixel"
  | "align_corners"
  | "asymmetric"
  | "tf_half_pixel_for_nn"
  | "tf_crop_and_resize";

export type NearestMode = "round_prefer_floor" | "round_prefer_ceil" | "floor" | "ceil";

export type Interpolation =
  | { readonly kind: "nearest"; readonly rounding: NearestMode }
  | { readonly kind: "linear"; readonly antialias: boolean; readonly excludeOutside: boolean }
  | {
    readonly kind: "cubic";
    readonly antialias: boolean;
    readonly excludeOutside: boolean;
    /** The `a` of Keys' kernel. */
    readonly coefficient: number;
  };

/**
 * One axis to resample. `scale` is output / input as stated, and `length` is scale * input, of which `output` is the whole
 * part: the specification's reference measures by the length, so that corners align where it is a whole number.
 * `crop` is the part of the input that tf_crop_and_resize reads.
 */
export interface ResampledAxis {
  readonly input: number;
  readonly output: number;
  readonly length: number;
  readonly scale: number;
  readonly coordinates: CoordinateMode;
  readonly crop: readonly [number, number];
}

/** `indices` and `weights` are [output, taps], row-major; `inside` says which rows lie within a tf crop. */
export interface ResampleTable {
  readonly taps: number;
  readonly indices: readonly number[];
  readonly weights: readonly number[];
  readonly inside: readonly boolean[];
}

/** The place in the input that entry `x` of the output is taken from, after the ONNX Resize specification. */
export function sourceCoordinate(axis: ResampledAxis, x: number): number {
  const { input, output, length, scale } = axis;
  switch (axis.coordinates) {
    case "half_pixel":
      return (x + 0.5) / scale - 0.5;
    case "half_pixel_symmetric": {
      const adjustment = output / length;
      return (input / 2) * (1 - adjustment) + (x + 0.5) / scale - 0.5;
    }
    case "pytorch_half_pixel":
      return output > 1 ? (x + 0.5) / scale - 0.5 : 0;
    case "align_corners":
      return length > 1 ? (x * (input - 1)) / (length - 1) : 0;
    case "asymmetric":
      return x / scale;
    case "tf_half_pixel_for_nn":
      return (x + 0.5) / scale;
    case "tf_crop_and_resize": {
      const [begin, end] = axis.crop;
      return length > 1
        ? begin * (input - 1) + (x * (end - begin) * (input - 1)) / (length - 1)
        : (0.5 * (begin + end)) * (input - 1);
    }
  }
}

/** The table of one axis. Places outside the input read its edge, or count for nothing with `excludeOutside`. */
export function resampleTable(axis: ResampledAxis, interpolation: Interpolation): ResampleTable {
  const rows = Array.from({ length: axis.output }, (_, x) => {
    const place = sourceCoordinate(axis, x);
    return { place, taps: tapsAt(place, axis, interpolation) };
  });
  const width = Math.max(1, ...rows.map((row) => row.taps.length));
  const last = axis.input - 1;
  const padded = rows.map((
    { taps },
  ) => [...taps, ...new Array<Tap>(width - taps.length).fill({ index: 0, weight: 0 })]);
  return {
    taps: width,
    indices: padded.flatMap((row) => row.map(({ index }) => Math.min(Math.max(index, 0), last))),
    weights: padded.flatMap((row) => row.map(({ weight }) => weight)),
    inside: rows.map(({ place }) => axis.coordinates !== "tf_crop_and_resize" || (place >= 0 && place <= last)),
  };
}

interface Tap {
  readonly index: number;
  readonly weight: number;
}

function tapsAt(place: number, axis: ResampledAxis, interpolation: Interpolation): readonly Tap[] {
  if (interpolation.kind === "nearest") {
    // Scales are float32: without rounding, 1 / 0.33333334 falls below 3 and picks the entry before.
    return [{ index: nearest(Math.fround(place), interpolation.rounding), weight: 1 }];
  }
  const stretch = interpolation.antialias ? Math.min(axis.scale, 1) : 1;
  const reach = (interpolation.kind === "linear" ? 1 : 2) / stretch;
  const kernel = interpolation.kind === "linear" ? linearKernel : cubicKernel(interpolation.coefficient);
  const first = Math.floor(place - reach) + 1;
  const count = Math.ceil(place + reach) - first;
  const taps = Array.from({ length: Math.max(1, count) }, (_, offset): Tap => ({
    index: first + offset,
    weight: kernel((first + offset - place) * stretch),
  })).filter(({ index }) => !interpolation.excludeOutside || (index >= 0 && index < axis.input));
  const sum = taps.reduce((total, { weight }) => total + weight, 0);
  return interpolation.excludeOutside || interpolation.antialias
    ? taps.map(({ index, weight }) => ({ index, weight: weight / sum }))
    : taps;
}

function nearest(place: number, rounding: NearestMode): number {
  switch (rounding) {
    case "round_prefer_floor":
      return Math.ceil(place - 0.5);
    case "round_prefer_ceil":
      return Math.floor(place + 0.5);
    case "floor":
      return Math.floor(place);
    case "ceil":
      return Math.ceil(place);
  }
}

function linearKernel(distance: number): number {
  return Math.max(0, 1 - Math.abs(distance));
}

/** Keys' cubic convolution kernel (IEEE ASSP-29, 1981) with parameter a. */
function cubicKernel(a: number): (distance: number) => number {
  return (distance) => {
    const x = Math.abs(distance);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
  };
}
