import { definePass } from "../../compiler/rewrite/pass.ts";
import { rules } from "../../compiler/rewrite/drive.ts";
import { foldIntoContraction } from "./scale_shift.ts";

/**
 * Makes a constant added to each output channel the contraction's bias.
 *
 *   y = W·x + b + c   ⇒   y = W·x + (b + c)
 *
 * Exact over the reals; bit for bit where there was no bias before.
 */
export const foldBias = definePass({
  name: "fold-bias",
  summary: "Fold a constant added to each channel into the bias of the producing conv or matmul",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: rules({ name: "fold-bias", rewrite: (node, view) => foldIntoContraction("fold-bias", "shift", node, view) }),
});
