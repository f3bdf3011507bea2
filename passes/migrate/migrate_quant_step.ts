import { fail } from "../../compiler/diagnostics.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";
import { booleanOption, choiceOption, integerOption, numberOption } from "../../compiler/rewrite/options.ts";
import { definePass, type PassScope } from "../../compiler/rewrite/pass.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { ChannelTensor, Region, RegionKind } from "../../compiler/rewrite/region/region.ts";
import { type GraphView, Rewriting } from "../../compiler/rewrite/view.ts";
import { spread } from "../calibrate/calibrate.ts";
import { isHead } from "../quantize/head.ts";
import { positionAxis, type Positions, positionsOf } from "../sink/positions.ts";
import { sinkTop } from "../sink/row_steps.ts";
import { scaleObstacle, scaleRegion } from "../transform/scale_region.ts";
import { WeightEditor } from "../transform/weight_editor.ts";
import { collectRows, type RowRequest, type RowSample } from "./collect_rows.ts";
import { channelGrids, type Grid, normalStep, type StepOptions, tensorGrid } from "./step_search.ts";
import { copyCounts, type CopyOptions, copySources } from "./copies.ts";
import { roundedValue, type Rounding } from "./rounding.ts";
import { transformSites, withUnitGains } from "./sites.ts";

const options = {
  bits: integerOption({ min: 3, max: 8 }, 4, "Width of the activation codes"),
  granularity: choiceOption(["channel", "tensor"], "channel", "One step per channel, or one per tensor"),
  symmetric: booleanOption(true, "No zero points; false gives each step a zero point, which ends up in the bias"),
  steps: choiceOption(
    ["measured", "constant"],
    "measured",
    "Behind norms whose gain is one: steps from calibration, or the best ones for normal variables, which rotations make",
  ),
  clip: choiceOption(["search", "none"], "search", "Fit each range by squared error, or take it whole"),
  norms: booleanOption(true, "Migrate behind norms"),
  outputs: booleanOption(true, "Migrate in front of attention output projections"),
  downs: booleanOption(true, "Migrate in front of down projections"),
  copies: numberOption({ min: 0, max: 1 }, 0, "Most columns added, as a share of all, to read loud channels in parts"),
  threshold: numberOption(
    { min: 1, max: 1000 },
    2,
    "Channels louder than this many times the median are read in parts",
  ),
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
 * With zero points q_j = clamp(round((g_j / s_j) n_j + z_j)), and Σ_j z_j p_ij of the quantized weights p goes into the
 * bias (`encode-migrated`). Copies read a loud channel several times with a part of its weights each (copies.ts). After
 * rotations the values behind a norm are close to normal with variance 1, so that constant steps need no calibration.
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
  needs: [],
  options,
  run: async (graph, scope) => {
    const { rows: limit, sink, bits } = scope.options;
    const prepared = withUnitGains(graph);
    const { sites, declined } = chooseSites(prepared, scope.options);
    const editor = new WeightEditor(prepared);
    const isConstant = (site: Site) => scope.options.steps === "constant" && isNormal(editor, site.region);
    const requests = sites.filter((site) => !isConstant(site)).map(requestOf);
    const rows = await measuredRows(prepared, requests, limit, scope);
    const positions = sink > 0 ? positionsOf(prepared) : undefined;
    const top = 2 ** (bits - 1) - 1;
    const metrics = { migrated: 0, rowSinks: 0, columns: 0, copies: 0 };
    for (const site of sites) {
      const seen = rows.get(site.region.activations[0].value);
      const grids = isConstant(site)
        ? new Array<Grid>(site.region.channels).fill({ step: normalStep(bits, 1), zero: 0 })
        : seen === undefined || seen.count === 0
        ? undefined
        : gridsOf(site, seen, { top, ...scope.options });
      if (grids === undefined) continue;
      metrics.migrated++;
      const copying: CopyOptions = { threshold: scope.options.threshold, growth: scope.options.copies };
      const done = migrate(editor, site, grids, {
        top,
        copying,
        sink,
        ...(positions === undefined ? {} : { positions }),
      });
      metrics.rowSinks += done.rowSinks;
      metrics.columns += done.columns;
      metrics.copies += done.copies;
    }
    return { graph: editor.finish(), applied: [], declined, metrics };
  },
});

/** The rows that steps are searched on; none are needed where every step is constant. */
async function measuredRows(
  graph: Graph,
  requests: readonly RowRequest[],
  limit: number,
  { calibration, options: { samples, sink }, onProgress }: Pick<
    PassScope<typeof options>,
    "calibration" | "options" | "onProgress"
  >,
): Promise<ReadonlyMap<ValueName, RowSample>> {
  if (requests.length === 0) return new Map();
  if (calibration === undefined || calibration.length === 0) {
    return fail("Q0309", `"migrate-quant-step" needs calibration samples`, {
      help:
        `Give a set with --calibration; after rotations "steps": "constant" with "outputs" and "downs" false needs none`,
    });
  }
  return await collectRows(graph, requests, spread(calibration, samples), limit, sink, onProgress);
}

/** Whether the channels are those of an rms norm without gain: their mean square is 1 in every row. */
function isNormal(editor: WeightEditor, { kind, sources }: Region): boolean {
  return kind === "norm" && sources.length === 1 && sources[0].node.op === "norm" &&
    sources[0].node.attributes.kind === "rms" && editor.tensor(sources[0]).entries.every((gain) => gain === 1);
}

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

function gridsOf(
  { region }: Site,
  rows: RowSample,
  options: StepOptions & { readonly granularity: "channel" | "tensor" },
): readonly Grid[] {
  const [{ channels }] = region.activations;
  return options.granularity === "channel"
    ? channelGrids(rows, channels, region.channels, options)
    : new Array<Grid>(region.channels).fill(tensorGrid(rows, options));
}

interface MigrateOptions {
  readonly top: number;
  readonly copying: CopyOptions;
  readonly sink: number;
  readonly positions?: Positions;
}

/** What a site came to: values with rows of a sink apart, columns read, and how many of them are copies. */
interface Migrated {
  readonly rowSinks: number;
  readonly columns: number;
  readonly copies: number;
}

/** Moves the steps and puts the rounding in front of every reader. */
function migrate(
  editor: WeightEditor,
  { region, division }: Site,
  grids: readonly Grid[],
  { top, copying, sink, positions }: MigrateOptions,
): Migrated {
  const steps = Float64Array.from(grids, ({ step }) => step);
  if (division === "folded") scaleRegion(editor, region, steps);
  else for (const reader of region.sinks) editor.scale(reader, steps);
  const hasZeros = grids.some(({ zero }) => zero !== 0);
  const sinksOf = new Map<ValueName, ChannelTensor[]>();
  for (const place of region.sinks) {
    const [value] = place.node.inputs;
    sinksOf.set(value, [...sinksOf.get(value) ?? [], place]);
  }
  let [rowSinks, columns, copies] = [0, 0, 0];
  for (const [value, places] of sinksOf) {
    const { shape } = typeOf(editor.graph, value);
    const { channels } = places[0];
    const sources = splitColumns(editor, places, copying);
    const isSink = positions !== undefined && positionAxis(shape, positions) === shape.length - 2;
    const rounding: Rounding = {
      top,
      ...(division === "folded" ? {} : { factors: steps.map((step) => 1 / step) }),
      ...(hasZeros ? { zeros: Float64Array.from(channels, (channel) => grids[channel].zero) } : {}),
      ...(sources === undefined ? {} : { sources }),
      ...(isSink ? { sink: { positions, options: { sink, top: sinkTop } } } : {}),
    };
    editor.insertShared(places.map(({ node }) => node), 0, (inserter) => roundedValue(inserter, value, rounding));
    rowSinks += isSink ? 1 : 0;
    columns += sources?.length ?? channels.length;
    copies += (sources?.length ?? channels.length) - channels.length;
  }
  return { rowSinks, columns, copies };
}

/** Spreads loud columns of the readers of one value over copies; the column that each one reads, where any is split. */
function splitColumns(
  editor: WeightEditor,
  places: readonly ChannelTensor[],
  options: CopyOptions,
): Int32Array<ArrayBuffer> | undefined {
  if (options.growth === 0 || places.some(({ node }) => node.op !== "matmul")) return undefined;
  const loudness = new Float64Array(places[0].channels.length);
  for (const place of places) {
    const { shape, entries } = editor.tensor(place);
    const inner = sizeOf(shape.slice(place.axis + 1));
    entries.forEach((entry, index) => {
      const column = Math.floor(index / inner) % loudness.length;
      loudness[column] = Math.max(loudness[column], Math.abs(entry));
    });
  }
  const counts = copyCounts(loudness, options);
  const sources = copySources(counts);
  if (sources.length === counts.length) return undefined;
  const shares = Float64Array.from(sources, (source) => 1 / counts[source]);
  for (const place of places) editor.spread(place, sources, shares);
  return sources;
}
