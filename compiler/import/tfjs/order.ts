/** Topological order of what some roots need, without recursion, so that deep and cyclic files do no harm. */

export type Ordered =
  | { readonly ok: true; readonly order: readonly string[] }
  | { readonly ok: false; readonly cycle: string };

/** Every key that `roots` need, dependencies first; or a key on a cycle. */
export function dependencyOrder(
  roots: readonly string[],
  dependenciesOf: (key: string) => readonly string[],
): Ordered {
  const order: string[] = [];
  const state = new Map<string, "open" | "done">();
  const stack: { readonly key: string; readonly dependencies: readonly string[]; next: number }[] = [];
  const open = (key: string) => {
    state.set(key, "open");
    stack.push({ key, dependencies: dependenciesOf(key), next: 0 });
  };
  for (const root of roots) {
    if (!state.has(root)) open(root);
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.next === top.dependencies.length) {
        state.set(top.key, "done");
        order.push(top.key);
        stack.pop();
        continue;
      }
      const dependency = top.dependencies[top.next++];
      const known = state.get(dependency);
      if (known === "open") return { ok: false, cycle: dependency };
      if (known === undefined) open(dependency);
    }
  }
  return { ok: true, order };
}
