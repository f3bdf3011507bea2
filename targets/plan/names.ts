/** Names of an artifact's files. */

/** Path of a graph's kernels, less the ending. */
export function kernelStem(name: string): string {
  return `kernels/${name.replace(/[^A-Za-z0-9._-]+/g, "_").replace(/^[._]+|[._]+$/g, "") || "model"}`;
}
