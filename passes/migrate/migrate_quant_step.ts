import { fail } from "../../compiler/diagnostics.ts";
import { binary, compare, type Expression, input, literal, select, unary } from "../../compiler/ir/expression.ts";
import type { Extent } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { booleanOption, choiceOption, integerOption } from "../../compiler/rewrite/options.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { Region, RegionKind } from "../../compiler/rewrite/region/region.ts";
import { type GraphView, Rewriting } from "../../compiler/rewrite/view.ts";
import { spread } from "../calibrate/calibrate.ts";
import { isHead } from "../quantize/head.ts";
import { positionAxis, type Positions, positionsOf } from "../sink/positions.ts";
import { rowSteps, type SinkOptions, sinkTop } from "../sink/row_steps.ts";
import { scaleObstacle, scaleRegion } from "../transform/scale_region.ts";
import { type Inserter, WeightEditor } from "../transform/weight_editor.ts";
import { collectRows, type RowRequest, type RowSample } from "./collect_rows.ts";
import { channelSteps, type StepOptions, tensorStep } from "./step_search.ts";
import { transformSites, withUnitGains } from "./sites.ts";

const options = {
  bits: integerOption({ min: 3, max: 8 }, 4, "Width of the activation codes"),
  granularity: choiceOption(["channel", "tensor"], "channel", "One step per channel, or one per tensor"),
  clip: choiceOption(["search", "none"], "search", "Fit each range by squared error, or take it whole"),
  norms: booleanOption(true, "Migrate behind norms"),
  outputs: booleanOption(true, "Migrate in front of attention output projections"),
  downs: booleanOption(true, "Migrate in front of down projections"),
  samples: integerOption({ min: 1, max: 4096 }, 64, "Calibration samples to look at"),
  rows: integerOption({ min: 16, max: 65536 }, 4096, "Rows of each activation that are kept"),
  sink: integerOption(
    { min: 0, max: 64 },
    0,
    "First positions, left out of calibration, whose rows take 8-bit steps of their own",
  ),
} as const;

/**
 * Quantization step migration (QSM, MergeQuant): static activation steps move into the gain before and the weights after.
 *
 *   y_j = g_j n_j,  q_j = clamp(round((g_j / s_j) n_j)),  o = Σ_j q_j (s_j W_ij)
 *
 * The gain g/s and the weights W·diag(s) are made here, so nothing is left at run time but round and clamp at the end of
 * the norm: no quantize op, no dequantize op, no step per token. In front of the output projection s divides the rows of
 * the value projection, in front of the down projection those of the up projection. Behind a transform at run time the
 * division is one multiply by a constant vector.
 *
 * Lossy by rounding: |x - s q| ≤ s/2 inside the range, clipping outside. Loud channels take finer weight steps, quiet
 * ones are crushed, since one weight step serves a whole row of s_j W_ij: clipping and rotations keep s flat.
 * A massive first token would set every range: `sink` leaves it out of calibration and gives its row a step of its own.
 */
export const migrateQuantStep = definePass({
  name: "migrate-quant-step",
  summary: "Move static activation steps into norm gains, projections and weights",
  from: "float",
  to: "float",
  exactness: "lossy",
  needs: ["calibration"],
  options,
  run: async (graph, scope) => {
    if (scope.calibration === undefined) return fail("Q0309", `"migrate-quant-step" needs calibration samples`);
    const prepared = withUnitGains(graph);
    const { sites, declined } = chooseSites(prepared, scope.options);
    const samples = spread(scope.calibration, scope.options.samples);
    const { rows: limit, sink } = scope.options;
    const rows = await collectRows(prepared, sites.map(requestOf), samples, limit, sink, scope.onProgress);
    const editor = new WeightEditor(prepared);
    const { bits, clip, granularity } = scope.options;
    const positions = sink > 0 ? positionsOf(prepared) : undefined;
    const rounding: Rounding = {
      top: 2 ** (bits - 1) - 1,
      ...(positions === undefined ? {} : { sink: { positions, options: { sink, top: sinkTop } } }),
    };
    let rowSinks = 0;
    for (const site of sites) {
      const seen = rows.get(site.region.activations[0].value);
      if (seen === undefined || seen.count === 0) continue;
      const steps = stepsOf(site, seen, { top: rounding.top, clip }, granularity);
      rowSinks += migrate(editor, site, steps, rounding);
    }
    return { graph: editor.finish(), applied: [], declined, metrics: { migrated: sites.length, rowSinks } };
  },
});

/** A region with how its steps leave the activation. */
interface Site {
  readonly region: Region;
  /** `folded`: into the region's sources. `multiplied`: by a vector in front of the rounding. */
  readonly division: "folded" | "multiplied";
}

function chooseSites(
  graph: Graph,
  wanted: { readonly norms: boolean; readonly outputs: boolean; readonly downs: boolean },
): { readonly sites: readonly Site[]; readonly declined: readonly Declined[] } {
  const kinds: Partial<Record<RegionKind, boolean>> = {
    norm: wanted.norms,
    valueOutput: wanted.outputs,
    upDown: wanted.downs,
  };
  const found = findRegions(graph);
  const editor = new WeightEditor(graph);
  const view = new Rewriting(graph);
  const declined: Declined[] = found.declined.filter(({ kind }) => kind !== "residual" && kinds[kind] === true)
    .map(({ name, reason }) => ({ rule: "migrate-quant-step", node: name, reason }));
  const sites: Site[] = [];
  const add = (region: Region, division: Site["division"]): void => {
    const obstacle = scaleObstacle(editor, region) ?? headObstacle(view, region);
    if (obstacle === undefined) sites.push({ region, division });
    else declined.push({ rule: "migrate-quant-step", node: region.name, reason: obstacle });
  };
  for (const region of found.regions) if (kinds[region.kind] === true) add(region, "folded");
  for (const region of wanted.downs ? transformSites(graph) : []) add(region, "multiplied");
  return { sites, declined };
}

/** The layer that makes the model's output stays float. */
function headObstacle(view: GraphView, region: Region): string | undefined {
  const feedsHead = region.sinks.some(({ node }) => isHead(node, view));
  return feedsHead ? "it feeds the layer that makes the model's output" : undefined;
}

function requestOf({ region }: Site): RowRequest {
  const [{ value, channels }] = region.activations;
  return { value, columns: channels.length };
}

function stepsOf(
  { region }: Site,
  rows: RowSample,
  options: StepOptions,
  granularity: "channel" | "tensor",
): Float64Array {
  const [{ channels }] = region.activations;
  return granularity === "channel"
    ? channelSteps(rows, channels, region.channels, options)
    : new Float64Array(region.channels).fill(tensorStep(rows, options));
}

/** How the divided activation is rounded. */
interface Rounding {
  readonly top: number;
  readonly sink?: { readonly positions: Positions; readonly options: SinkOptions };
}

/** Moves the steps and puts the rounding in front of every reader. Gives how many values take rows of a sink apart. */
function migrate(editor: WeightEditor, { region, division }: Site, steps: Float64Array, rounding: Rounding): number {
  if (division === "folded") scaleRegion(editor, region, steps);
  else for (const sink of region.sinks) editor.scale(sink, steps);
  const readers = new Map<ValueName, Node[]>();
  for (const { node } of region.sinks) readers.set(node.inputs[0], [...readers.get(node.inputs[0]) ?? [], node]);
  let apart = 0;
  for (const [value, nodes] of readers) {
    const { shape } = typeOf(editor.graph, value);
    const positions = rounding.sink?.positions;
    const hasSink = positions !== undefined && positionAxis(shape, positions) === shape.length - 2;
    if (hasSink) apart++;
    editor.insertShared(nodes, 0, (inserter) => {
      const divisor = division === "folded"
        ? undefined
        : inserter.constant(floatTensor([steps.length], steps.map((step) => 1 / step)), "inverse_steps");
      return hasSink
        ? roundRows(inserter, value, divisor, shape, rounding)
        : roundAll(inserter, value, divisor, rounding.top);
    });
  }
  return apart;
}

/** clamp(round(x), -top - 1, top): codes held as numbers until the weights are codes too. */
function roundAll(inserter: Inserter, value: ValueName, divisor: ValueName | undefined, top: number): ValueName {
  const operands = divisor === undefined ? [value] : [value, divisor];
  const divided = divisor === undefined ? input(0) : binary("mul", input(0), input(1));
  const expression = clamped(unary("round", divided), literal(-top - 1), literal(top));
  return inserter.add("map", operands, { expression }, `${value}.codes`);
}

/** Codes times the row's step, which is 1 but at the sink: there the row has 8 bits of its own. */
function roundRows(
  inserter: Inserter,
  value: ValueName,
  divisor: ValueName | undefined,
  shape: readonly Extent[],
  { top, sink }: Rounding,
): ValueName {
  if (sink === undefined) return roundAll(inserter, value, divisor, top);
  const divided = divisor === undefined
    ? value
    : inserter.add("map", [value, divisor], { expression: binary("mul", input(0), input(1)) }, `${value}.divided`);
  const { mask, steps } = rowSteps(inserter, divided, shape, sink.positions, 1, sink.options);
  const limit = (inside: number, atSink: number) =>
    select(compare("gt", input(2), literal(0)), literal(atSink), literal(inside));
  const rounded = unary("round", binary("div", input(0), input(1)));
  const expression = clamped(rounded, limit(-top - 1, -sinkTop - 1), limit(top, sinkTop));
  const codes = inserter.add("map", [divided, steps, mask], { expression }, `${value}.codes`);
  const scaled = { expression: binary("mul", input(0), input(1)) };
  return inserter.add("map", [codes, steps], scaled, `${value}.rows`);
}

function clamped(x: Expression, low: Expression, high: Expression): Expression {
  return binary("min", binary("max", x, low), high);
}
