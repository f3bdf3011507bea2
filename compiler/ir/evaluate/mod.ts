/** Exact evaluation of graphs in plain TypeScript: the definition that every target must match. */

export { constantEnvironment, type Environment, type Evaluate } from "./environment.ts";
export { evaluateNode } from "./evaluate_node.ts";
export { evaluateGraph, type EvaluateOptions, type GraphRun } from "./evaluate_graph.ts";
export { StateMemory } from "./state_memory.ts";
