/** One setting that the gallery measures, and the models that settings belong to. */

export interface PublicFigure {
  /** KL divergence in nats for language models, SQNR in dB for vision nets. */
  readonly value: number;
  readonly tool: string;
}

export interface AccuracyCase {
  /** Unique in its model; the row's name. */
  readonly name: string;
  readonly recipe: string;
  readonly overrides: readonly string[];
  readonly public?: PublicFigure;
}

export interface AccuracyModel {
  readonly name: string;
  readonly kind: "language" | "vision";
  /** Vision: samples of the set, every fifth of which calibrates. */
  readonly samples: number;
  readonly cases: readonly AccuracyCase[];
}

export function row(
  name: string,
  recipe: string,
  overrides: readonly string[] = [],
  best?: readonly [value: number, tool: string],
): AccuracyCase {
  return { name, recipe, overrides, ...(best === undefined ? {} : { public: { value: best[0], tool: best[1] } }) };
}
