/** Which nodes of a graph are needed, and in which order they can be imported. */

import { DiagnosticError, errorDiagnostic } from "../../diagnostics.ts";
import type { GraphProto, NodeProto } from "./proto.ts";

/** Names that a node reads: its inputs, and what its graph attributes take from outside. */
export function namesRead(node: NodeProto): ReadonlySet<string> {
  const names = new Set(node.inputs.filter((name) => name !== ""));
  for (const { graph } of node.attributes) {
    if (graph !== undefined) freeNames(graph).forEach((name) => names.add(name));
  }
  return names;
}

/** Names that a graph reads and does not define. */
function freeNames(graph: GraphProto): ReadonlySet<string> {
  const own = new Set([
    ...graph.inputs.map(({ name }) => name),
    ...graph.initializers.map(({ name }) => name),
    ...graph.nodes.flatMap((node) => node.outputs),
  ]);
  const read = new Set(graph.outputs.map(({ name }) => name));
  graph.nodes.forEach((node) => namesRead(node).forEach((name) => read.add(name)));
  own.forEach((name) => read.delete(name));
  return read;
}

/** The name that messages call a node by. */
export function nodePlace(node: NodeProto): string {
  if (node.name !== "") return node.name;
  const output = node.outputs.find((name) => name !== "");
  return output === undefined ? node.opType : `${node.opType} -> ${output}`;
}

/**
 * The nodes that the outputs depend on, each after those it reads; file order where that does.
 * Throws DiagnosticError for names made twice and for cycles.
 */
export function orderNodes(nodes: readonly NodeProto[], outputs: readonly string[]): readonly NodeProto[] {
  const makers = new Map<string, NodeProto>();
  for (const node of nodes) {
    for (const name of node.outputs) {
      if (name === "") continue;
      const other = makers.get(name);
      if (other !== undefined) {
        throw new DiagnosticError([
          errorDiagnostic("Q1014", `"${name}" is made twice, by "${nodePlace(other)}" and "${nodePlace(node)}"`, {
            node: nodePlace(node),
          }),
        ]);
      }
      makers.set(name, node);
    }
  }
  return depthFirst(nodes, outputs, makers);
}

/** Post-order from the outputs without recursion: real graphs are thousands of nodes deep. */
function depthFirst(
  nodes: readonly NodeProto[],
  outputs: readonly string[],
  makers: ReadonlyMap<string, NodeProto>,
): readonly NodeProto[] {
  const reads = new Map(nodes.map((node) => [node, [...namesRead(node)]]));
  const position = new Map(nodes.map((node, index) => [node, index]));
  const state = new Map<NodeProto, "open" | "done">();
  const needed = new Set<NodeProto>();
  for (const output of outputs) {
    const root = makers.get(output);
    if (root === undefined || state.get(root) === "done") continue;
    const stack: { readonly node: NodeProto; next: number }[] = [{ node: root, next: 0 }];
    state.set(root, "open");
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const names = reads.get(top.node) ?? [];
      if (top.next === names.length) {
        state.set(top.node, "done");
        needed.add(top.node);
        stack.pop();
        continue;
      }
      const producer = makers.get(names[top.next++]);
      if (producer === undefined || state.get(producer) === "done") continue;
      if (state.get(producer) === "open") throw cycle(stack.map((entry) => entry.node), producer);
      state.set(producer, "open");
      stack.push({ node: producer, next: 0 });
    }
  }
  const postOrder = [...needed];
  return isInFileOrder(postOrder, reads, makers, position)
    ? postOrder.sort((a, b) => (position.get(a) ?? 0) - (position.get(b) ?? 0))
    : postOrder;
}

function isInFileOrder(
  nodes: readonly NodeProto[],
  reads: ReadonlyMap<NodeProto, readonly string[]>,
  makers: ReadonlyMap<string, NodeProto>,
  position: ReadonlyMap<NodeProto, number>,
): boolean {
  return nodes.every((node) =>
    (reads.get(node) ?? []).every((name) => {
      const maker = makers.get(name);
      return maker === undefined || (position.get(maker) ?? 0) < (position.get(node) ?? 0);
    })
  );
}

function cycle(path: readonly NodeProto[], closing: NodeProto): DiagnosticError {
  const round = path.slice(path.indexOf(closing)).map((node) => `"${nodePlace(node)}"`);
  const shown = round.length > 8 ? [...round.slice(0, 4), "...", ...round.slice(-3)] : round;
  return new DiagnosticError([
    errorDiagnostic("Q1015", `The nodes ${shown.join(", ")} form a cycle`, { node: nodePlace(closing) }),
  ]);
}
