/** The families that the table of results is ordered by. */

interface Family {
  readonly name: string;
  /** Matches names without the leading `test_`. */
  readonly pattern: RegExp;
}

/** The first family that matches holds the test. */
const families: readonly Family[] = [
  {
    name: "elementwise and comparison",
    pattern: words(
      "abs acosh? add and asinh? atanh? bitshift bitwise ceil cosh? div equal erf exp floor greater isinf isnan less log",
      "max mean min mod mul neg not or pow reciprocal round sign sinh? sqrt sub sum tanh? xor",
    ),
  },
  {
    name: "activations",
    pattern: words(
      "celu dropout elu gelu hardsigmoid hardswish leakyrelu mish prelu relu selu shrink sigmoid softplus softsign swish",
      "thresholdedrelu training_dropout swiglu",
    ),
  },
  { name: "reductions", pattern: words("reduce") },
  { name: "argmax and topk", pattern: words("argmax argmin top_k") },
  { name: "softmax", pattern: words("softmax logsoftmax hardmax") },
  {
    name: "normalization",
    pattern: words("batchnorm group_normalization instancenorm layer_normalization l[12]normalization lpnormalization"),
  },
  { name: "normalization", pattern: words("lrn mvn rms_normalization") },
  { name: "matmul, gemm, einsum", pattern: words("matmul gemm einsum") },
  { name: "convolution", pattern: words("basic_conv conv convtranspose") },
  { name: "pooling", pattern: words("averagepool globalaveragepool globalmaxpool lppool maxpool maxunpool") },
  { name: "resize", pattern: words("resize upsample") },
  { name: "pad", pattern: words("constant_pad edge_pad reflect_pad wrap_pad") },
  { name: "slice, concat, split", pattern: words("slice concat split") },
  { name: "gather", pattern: words("gather gathernd") },
  { name: "scatter", pattern: words("scatter scatternd tensorscatter") },
  {
    name: "transpose, reshape, tile",
    pattern: words("transpose reshape squeeze unsqueeze expand tile flatten identity shape size reversesequence"),
  },
  { name: "where, clip, cast", pattern: words("where clip cast castlike bitcast") },
  { name: "range, cumsum, cumprod", pattern: words("range cumsum cumprod") },
  {
    name: "onehot, trilu, constants",
    pattern: words("onehot tril triu eyelike constant constantofshape compress nonzero"),
  },
  { name: "depth and space", pattern: words("depthtospace spacetodepth") },
  { name: "lstm, gru, rnn", pattern: words("lstm gru rnn simple_rnn") },
  {
    name: "quantized and integer",
    pattern: words(
      "quantizelinear dequantizelinear dynamicquantizelinear qlinearconv qlinearmatmul matmulinteger convinteger",
      "basic_convinteger",
    ),
  },
  { name: "attention", pattern: words("attention rotary_embedding flexattention linear_attention") },
  { name: "losses", pattern: words("nllloss sce") },
  { name: "control flow", pattern: words("if loop\\d+ scan\\d*") },
  { name: "signal and image", pattern: words("affine_grid blackmanwindow center_crop_pad col2im deform_conv det dft") },
  { name: "signal and image", pattern: words("basic_deform_conv causal_conv gridsample hammingwindow hannwindow") },
  { name: "signal and image", pattern: words("melweightmatrix nonmaxsuppression roialign stft") },
];

/** A pattern of names that begin with one of the words, on their own or followed by `_` or digits and `d`. */
function words(...lists: readonly string[]): RegExp {
  return new RegExp(`^(?:${lists.join(" ").split(" ").join("|")})(?:\\d+d)?(?:_|$)`);
}

/** The family of a test, `other` where none matches. */
export function familyOf(test: string): string {
  return families.find(({ pattern }) => pattern.test(test))?.name ?? "other";
}

/** Names in the order of the table. */
export const familyNames: readonly string[] = [...new Set(families.map(({ name }) => name)), "other"];
