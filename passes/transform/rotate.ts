import { fail } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { choiceOption, integerOption } from "../../compiler/rewrite/options.ts";
import { definePass, type PassScope } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { ChannelTensor, Region, RegionKind, ResidualStream } from "../../compiler/rewrite/region/region.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import { type GraphView, Rewriting } from "../../compiler/rewrite/view.ts";
import { spread } from "../calibrate/calibrate.ts";
import {
  balancingFactors,
  headKinds,
  headRotations,
  headsWant,
  onlineKinds,
  onlineRotation,
  siteWants,
  streamKinds,
  streamRotation,
  streamWants,
  type Wanted,
} from "./choose_rotation.ts";
import { hadamardRotation } from "./rotation.ts";
import { downSites, keySites, normSites, type OnlineSite, outputSites, type SiteDecline } from "./rotation_sites.ts";
import { scaleRegion } from "./scale_region.ts";
import { activationMoments, type Moments } from "./second_moments.ts";
import { rotateHeads, rotateOnline, rotateStream, turnBehind } from "./turn_regions.ts";
import { WeightEditor } from "./weight_editor.ts";

const options = {
  residual: choiceOption([...streamKinds, "none"], "hadamard", "Rotation of the residual stream (R1)"),
  heads: choiceOption([...headKinds, "none"], "hadamard", "Transform of every value head (R2)"),
  norms: choiceOption(
    [...onlineKinds, "none"],
    "none",
    "Transform behind every norm at run time; it takes the place of R1",
  ),
  outputs: choiceOption(
    ["heads", ...onlineKinds, "none"],
    "none",
    "Transform of the output projection's input at run time; heads mixes whole heads; klt, kronecker and dense replace R2",
  ),
  down: choiceOption(
    ["balanced", ...onlineKinds, "none"],
    "none",
    "Transform of the down projection's input at run time (R4); balanced scales the up projection, then hadamard",
  ),
  keys: choiceOption(["hadamard", "none"], "none", "Rotation of queries and keys behind their embedding (R3)"),
  block: integerOption({ min: 0, max: 65536 }, 0, "Channels that a Hadamard matrix at run time mixes; 0 for all"),
  samples: integerOption({ min: 1, max: 4096 }, 32, "Calibration samples behind klt, balanced, kronecker and dense"),
} as const;

type Scope = PassScope<typeof options>;

/**
 * Turns channels so that none of them is louder than the others, and the weights against it.
 *
 *   residual stream (R1)   writers W ↦ Qᵀ·W, readers W ↦ W·Q,  n(x·Q) = n(x)·Q for an RMS norm without gain
 *   value heads (R2)       v ↦ v·T per key-value head, columns of the output projection W ↦ W·T⁻ᵀ
 *   at run time            x ↦ x·T by `transform` ops, every reader W ↦ W·T⁻ᵀ: norms, outputs, down (R4)
 *   queries and keys (R3)  (q·H)·(k·H)ᵀ = q·kᵀ behind the rotary embedding, for caches of few bits
 *
 * Exact over the reals. Q must be orthogonal, since an RMS norm sees only the length of a row; not so a layer norm, which
 * subtracts the mean (centre it first), nor a norm with a gain (fold it first): both are declined. T may be any invertible
 * matrix. Never centre the embeddings of an RMS norm model: that changes it. Folded in float64 and cast once.
 * QuaRot, arXiv 2404.00456 (hadamard, heads); MambaQuant, 2501.13484 (klt); FlatQuant, 2410.09426 (kronecker).
 */
export const rotate = definePass({
  name: "rotate",
  summary: "Rotate residual stream, heads and inputs of projections; what folds is folded into the weights",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options,
  run: async (graph, scope) => {
    const turns = planTurns(graph, new Rewriting(graph), scope);
    const wanted = turns.flatMap(({ wants }) => wants ?? []);
    if (wanted.length > 0 && scope.calibration === undefined) {
      return fail("Q0309", `"rotate" needs calibration samples for klt, balanced, kronecker and dense`);
    }
    const samples = spread(scope.calibration ?? [], scope.options.samples);
    const moments = await activationMoments(graph, wanted, samples, scope.onProgress);
    const editor = new WeightEditor(graph);
    const declined: Declined[] = [];
    let rotated = 0;
    for (const { name, obstacle, places, turn } of turns) {
      const reason = obstacle ?? editor.obstacle(places ?? []);
      if (reason !== undefined) declined.push({ rule: "rotate", node: name, reason });
      else {
        turn?.(editor, moments);
        rotated++;
      }
    }
    return { graph: editor.finish(), applied: [], declined, metrics: { rotated } };
  },
});

/** One rotation: what it must see, which constants it edits, and how; or why there is none. */
interface Turn {
  readonly name: string;
  readonly obstacle?: string;
  readonly wants?: Wanted;
  readonly places?: readonly ChannelTensor[];
  readonly turn?: (editor: WeightEditor, moments: Moments) => void;
}

function planTurns(graph: Graph, view: GraphView, scope: Scope): readonly Turn[] {
  const { residual, heads, norms, outputs } = scope.options;
  const found = findRegions(graph);
  const refused = (kind: RegionKind | "residual"): Turn[] =>
    found.declined.filter((entry) => entry.kind === kind).map(({ name, reason }) => ({ name, obstacle: reason }));
  const turns: Turn[] = [];
  if (residual !== "none" && norms === "none") {
    turns.push(...refused("residual"));
    if (found.residual !== undefined) {
      turns.push(streamTurn(graph.name, view, found.residual, residual, scope.seed + 1));
    }
  }
  if (heads !== "none" && (outputs === "none" || outputs === "heads" || outputs === "hadamard")) {
    turns.push(...refused("valueOutput"));
    const regions = found.regions.filter(({ kind }) => kind === "valueOutput");
    turns.push(...regions.map((region, index) => headTurn(region, heads, scope.seed + 2 + index)));
  }
  return [...turns, ...onlineTurns(view, found.regions, scope), ...keyTurns(view, scope)];
}

function streamTurn(
  name: string,
  view: GraphView,
  stream: ResidualStream,
  kind: (typeof streamKinds)[number],
  seed: number,
): Turn {
  return {
    name,
    wants: streamWants(kind, view, stream),
    places: [...stream.writers, ...stream.biases, ...stream.readers],
    turn: (editor, moments) => rotateStream(editor, stream, streamRotation(kind, view, stream, moments, seed)),
  };
}

function headTurn(region: Region, kind: (typeof headKinds)[number], seed: number): Turn {
  return {
    name: region.name,
    wants: headsWant(kind, region),
    places: [...region.sources, ...region.sinks],
    turn: (editor, moments) => rotateHeads(editor, region, headRotations(kind, editor, region, moments, seed)),
  };
}

function onlineTurns(view: GraphView, regions: readonly Region[], { options }: Scope): Turn[] {
  const { norms, outputs, down, block } = options;
  const sites = [
    ...(norms === "none" ? [] : normSites(view).map((site) => ({ kind: norms, site }))),
    ...(outputs === "none" ? [] : outputSites(view).map((site) => ({ kind: outputs, site }))),
    ...(down === "none" ? [] : downSites(view).map((site) => ({ kind: down, site }))),
  ];
  return sites.map(({ kind, site }): Turn => {
    if ("declined" in site) return refusal(site);
    if (kind === "balanced") return balancedTurn(regions, site);
    return {
      name: site.name,
      wants: siteWants(kind, site),
      places: site.sinks,
      turn: (editor, moments) => rotateOnline(editor, site.sinks, onlineRotation(kind, editor, site, moments, block)),
    };
  });
}

/** A Hadamard rotation at run time whose channels were balanced by factors in the projection before. */
function balancedTurn(regions: readonly Region[], site: OnlineSite): Turn {
  const region = regions.find(({ kind, activations }) => kind === "upDown" && activations[0].value === site.value);
  if (region === undefined) return { name: site.name, obstacle: "no projection in front of it takes the factors" };
  return {
    name: site.name,
    wants: siteWants("balanced", site),
    places: [...region.sources, ...site.sinks],
    turn: (editor, moments) => {
      scaleRegion(editor, region, balancingFactors(editor, site, moments));
      rotateOnline(editor, site.sinks, onlineRotation("hadamard", editor, site, moments, 0));
    },
  };
}

function keyTurns(view: GraphView, { options: { keys } }: Scope): Turn[] {
  if (keys === "none") return [];
  return keySites(view).map((site): Turn => {
    if ("declined" in site) return refusal(site);
    const rotation = hadamardRotation(site.extent, 0);
    return {
      name: site.name,
      turn: (editor) => {
        for (const { reader, operand } of site.places) turnBehind(editor, reader, operand, rotation);
      },
    };
  });
}

function refusal({ name, declined }: SiteDecline): Turn {
  return { name, obstacle: declined };
}
