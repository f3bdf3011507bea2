/** Node tests that are not run, each with its reason. A test that passes must not stand here. */

export interface Ignored {
  /** Matches names without the leading `test_`. */
  readonly pattern: RegExp;
  readonly reason: string;
}

const noTensors = "sequences and optionals are not tensors";
const noStrings = "tensors of strings are not supported";
const dataDependent = "the output's shape depends on the data";
const random = "draws random numbers";
const training = "training op";
const laterOpset = "op of an opset after 24";

export const ignored: readonly Ignored[] = [
  { pattern: /^(adagrad|adam|gradient|momentum|nesterov_momentum)(_|$)/, reason: training },
  { pattern: /^training_dropout(_default)?(_mask)?$/, reason: random },
  { pattern: /^bernoulli/, reason: random },
  { pattern: /^(identity_opt|if_opt|loop16_seq_none|optional_)/, reason: noTensors },
  { pattern: /^(identity_sequence|if_seq|loop13_seq|sequence_)/, reason: noTensors },
  { pattern: /^cast(like)?_(\w+_to_STRING|STRING_to_\w+)/, reason: noStrings },
  { pattern: /^(strnormalizer|strnorm_model)_/, reason: noStrings },
  { pattern: /^tfidfvectorizer_/, reason: "counts n-grams: text preparation, not arithmetic" },
  { pattern: /^(nonmaxsuppression|nonzero|unique)_/, reason: dataDependent },
  { pattern: /^det_/, reason: "determinants are not expressed in Quern's ops" },
  { pattern: /^(basic_)?deform_conv_/, reason: "windows that move with the data are not expressed in Quern's ops" },
  {
    pattern: /^operator_(add_|addconstant|addmm|basic|mm$|non_float_params|params|pow)/,
    reason: "opset 6 says by attributes how operands broadcast",
  },
  { pattern: /^scan_sum$/, reason: "Scan of opset 8 has a batch axis that later opsets dropped" },
  { pattern: /^flexattention(?!.*_expanded)/, reason: laterOpset },
  { pattern: /^(bitcast|causal_conv_with_state|linear_attention|swiglu)(?!.*_expanded)/, reason: laterOpset },
  {
    pattern: /^cast(like)?_FLOAT(16)?_to_FLOAT4E2M1/,
    reason: "NaN has no code in float4e2m1: the test wants that of -0, Quern gives that of 0",
  },
  { pattern: /^cast_e8m0_FLOAT(16)?_to_FLOAT8E8M0$/, reason: "rounding up to a power of two is not supported" },
];

/** Why a test is not run; undefined when it is. */
export function ignoredReason(test: string): string | undefined {
  return ignored.find(({ pattern }) => pattern.test(test))?.reason;
}

/** Tests whose expected numbers were typed with four digits, or computed with 3.1415 for pi. */
const shortDigits =
  /^(averagepool_2d_ceil_last_window_starts_on_pad|roialign_|gridsample_bicubic|(blackman|hann|hamming)window)/;

export function hasShortDigits(test: string): boolean {
  return shortDigits.test(test);
}
