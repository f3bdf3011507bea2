/** What the example pages share: the target switch, the progress bar, and the model's own account of where it runs. */

/** What a page calls of an artifact's `mod.js`. */
export interface PageArtifact<M> {
  load(options: {
    readonly target: string;
    readonly onProgress: (progress: { readonly loaded: number; readonly total: number }) => void;
  }): Promise<M>;
}

const targetNames: Readonly<Record<string, string>> = { wasm: "WebAssembly", wgsl: "WebGPU" };

export function element<E extends HTMLElement>(id: string, kind: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`The page has no ${id}`);
  return found;
}

/** Loads the artifact under `model/` for the target that the address names, and shows the progress. */
export async function loadPageModel<M extends { readonly target: string }>(): Promise<M> {
  const choice = element("target", HTMLSelectElement);
  choice.value = new URLSearchParams(location.search).get("target") ?? "auto";
  choice.addEventListener("change", () => location.search = `?target=${choice.value}`);
  const progress = element("progress", HTMLProgressElement);
  const label = element("progress-label", HTMLElement);
  const artifact: PageArtifact<M> = await import(new URL("model/mod.js", document.baseURI).href);
  const model = await artifact.load({
    target: choice.value,
    onProgress: ({ loaded, total }) => {
      progress.value = total > 0 ? loaded / total : 0;
      label.textContent = `Loading weights, ${megabytes(loaded)} of ${megabytes(total)}`;
    },
  });
  element("facts", HTMLElement).textContent = `${targetNames[model.target]} on this device; nothing leaves it.`;
  element("loading", HTMLElement).hidden = true;
  return model;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
