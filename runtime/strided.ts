/** Copies between dense arrays and memory whose strides come from the bounds of dynamic axes. */

/**
 * Calls `copy(dense, strided, count)` for every run of consecutive entries: offsets in entries into the dense array
 * of extents `shape`, and into the one whose strides are those of `bounds`.
 */
export function eachRun(
  shape: readonly number[],
  bounds: readonly number[],
  copy: (dense: number, strided: number, count: number) => void,
): void {
  let axis = shape.length;
  let run = 1;
  // Axes that fill their bounds join the run, and so does the first that does not.
  while (axis > 0) {
    axis--;
    run *= shape[axis];
    if (shape[axis] !== bounds[axis]) break;
  }
  const inner = bounds.slice(axis).reduce((size, extent) => size * extent, 1);
  let dense = 0;
  const visit = (level: number, index: number) => {
    if (level === axis) {
      copy(dense, index * inner, run);
      dense += run;
      return;
    }
    for (let position = 0; position < shape[level]; position++) visit(level + 1, index * bounds[level] + position);
  };
  if (run > 0) visit(0, 0);
}
