import { definePass } from "../../compiler/rewrite/pass.ts";
import { rules } from "../../compiler/rewrite/drive.ts";
import { foldIntoContraction } from "./scale_shift.ts";

/**
 * Folds a per-channel scale and shift, as inference batch norm is, into the convolution or matmul before it.
 *
 *   y = (W·x + b) ⊙ a + c   ⇒   y = (W ⊙ a)·x + (b ⊙ a + c)
 *
 * Exact over the reals.
 */
export const foldBatchNorm = definePass({
  name: "fold-batch-norm",
  summary: "Fold batch norm scale and shift into the producing conv or matmul",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: rules({
    name: "fold-batch-norm",
    rewrite: (node, view) => foldIntoContraction("fold-batch-norm", "scale-shift", node, view),
  }),
});
