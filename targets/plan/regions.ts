/** Forms regions: every main node with the elementwise nodes that run on its result before it is stored. */

import { equalShapes } from "../../compiler/ir/extent.ts";
import { type Expression, input, substitute } from "../../compiler/ir/expression.ts";
import { compactMap, expressionSize, inlineMap } from "../../compiler/rewrite/expressions.ts";
import { type Graph, readers, typeOf } from "../../compiler/ir/graph.ts";
import type { Node, NodeOf, ValueName } from "../../compiler/ir/node.ts";
import type { Epilogue, Region } from "../region.ts";
import { viewsOf } from "./views.ts";

/** Operators of one epilogue: expressions are trees when printed. */
const mostOperators = 200;
/** Operands of one epilogue: each holds an address, and wide loops run out of registers. */
const mostOperands = 12;

type MapNode = NodeOf<"map">;

/** Whether kernels for this main node can run an epilogue: any at all, or the one given. */
export type CanFuseEpilogue = (main: Node, graph: Graph, epilogue?: Epilogue) => boolean;

/**
 * The regions of a graph, in an order in which each one's operands are ready. Constants make no region. A map joins
 * the main node (or chain) before it when it is the only reader of that result and has its shape. A map with several
 * such operands goes to the last of them; contractions come before elementwise mains.
 */
export function formRegions(graph: Graph, canFuseEpilogue: CanFuseEpilogue): readonly Region[] {
  const outputs = new Set(graph.outputs.map(({ value }) => value));
  const read = readers(graph);
  const claimed = new Set<Node>();
  const regions = new Map<Node, Region>();

  const nextMap = (value: ValueName): MapNode | undefined => {
    const reader = read.get(value);
    if (outputs.has(value) || reader?.length !== 1) return undefined;
    const [map] = reader;
    if (map.op !== "map" || claimed.has(map)) return undefined;
    return equalShapes(typeOf(graph, map.outputs[0]).shape, typeOf(graph, value).shape) ? map : undefined;
  };
  const growEpilogue = (main: Node): Epilogue | undefined => {
    let epilogue: Epilogue | undefined;
    for (let map = nextMap(main.outputs[0]); map !== undefined; map = nextMap(map.outputs[0])) {
      const next = extendEpilogue(main.outputs[0], epilogue, map);
      if (next === undefined || !canFuseEpilogue(main, graph, next)) break;
      epilogue = next;
      claimed.add(map);
    }
    return epilogue;
  };

  const mains = graph.nodes.filter((node) => node.op !== "constant");
  const inTurn = [...mains.filter((node) => node.op !== "map").reverse(), ...mains.filter((node) => node.op === "map")];
  for (const main of inTurn) {
    if (claimed.has(main)) continue;
    const fuses = main.outputs.length === 1 && viewsOf(main, graph) === undefined && canFuseEpilogue(main, graph);
    const epilogue = fuses ? growEpilogue(main) : undefined;
    regions.set(epilogue?.nodes.at(-1) ?? main, { main, epilogue });
  }
  // A region stands where its last node stood: by then every operand of the epilogue has been made.
  const ordered = graph.nodes.flatMap((node) => regions.get(node) ?? []);
  return readStatesFirst(ordered);
}

/** The epilogue followed by one more map; undefined when that would grow too large. */
function extendEpilogue(
  mainOutput: ValueName,
  epilogue: Epilogue | undefined,
  map: MapNode,
): Epilogue | undefined {
  const last = epilogue?.output ?? mainOutput;
  const own = { expression: epilogue?.expression ?? input(0), inputs: [mainOutput, ...epilogue?.operands ?? []] };
  const reader = compactMap({ expression: map.attributes.expression, inputs: map.inputs });
  const index = reader.inputs.indexOf(last);
  if (index < 0) return undefined;
  const body = inlineMap(reader, index, own);
  const operands = body.inputs.filter((value) => value !== mainOutput);
  if (operands.length > mostOperands || expressionSize(body.expression) > mostOperators) return undefined;
  return {
    expression: renumber(body.expression, body.inputs, [mainOutput, ...operands]),
    operands,
    nodes: [...epilogue?.nodes ?? [], map],
    output: map.outputs[0],
  };
}

function renumber(
  expression: Expression,
  from: readonly ValueName[],
  to: readonly ValueName[],
): Expression {
  const indices = from.map((value) => to.indexOf(value));
  return substitute(expression, (index) => input(indices[index]));
}

/** `readState` yields what the state was when the run began, so it runs before anything writes. */
function readStatesFirst(regions: readonly Region[]): readonly Region[] {
  const reads = regions.filter(({ main }) => main.op === "readState");
  return [...reads, ...regions.filter(({ main }) => main.op !== "readState")];
}
