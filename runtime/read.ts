/** Reads the artifact's files: from the file system in Node and Deno, by fetch elsewhere. */

/** Where the artifact's files lie: beside mod.js (`home`), or under `base`. */
export function folderOf(home: string | URL, base: string | URL | undefined): string | URL {
  if (base === undefined) return home;
  const url = new URL(base, home);
  // Relative names count from a folder only where its URL ends in a slash.
  return url.pathname.endsWith("/") ? url : new URL(`${url.pathname.split("/").pop()}/`, url);
}

/** The whole file. */
export async function readBytes(url: URL, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  if (url.protocol === "file:") return new Uint8Array(await (await files()).readFile(url, { signal }));
  return new Uint8Array(await (await get(url, signal)).arrayBuffer());
}

/**
 * Streams a file into `target`, which has exactly its length. `onLoaded` hears the bytes so far. Throws an Error that
 * names the file when it is shorter or longer.
 */
export async function readInto(
  url: URL,
  target: Uint8Array<ArrayBuffer>,
  signal: AbortSignal | undefined,
  onLoaded: (bytes: number) => void,
): Promise<void> {
  let loaded = 0;
  for await (const chunk of chunksOf(url, signal)) {
    signal?.throwIfAborted();
    if (loaded + chunk.byteLength > target.byteLength) {
      throw new Error(
        `${url} is longer than the ${target.byteLength} bytes that the model wants: it is another build's`,
      );
    }
    target.set(chunk, loaded);
    loaded += chunk.byteLength;
    onLoaded(loaded);
  }
  if (loaded < target.byteLength) {
    throw new Error(`${url} is truncated: ${loaded} bytes, the model wants ${target.byteLength}`);
  }
}

async function* chunksOf(url: URL, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  if (url.protocol === "file:") {
    // The stream closes the file.
    return yield* (await (await files()).open(url)).createReadStream({ highWaterMark: 1 << 20 });
  }
  const { body } = await get(url, signal);
  const reader = body?.getReader();
  for (;;) {
    const result = await reader?.read();
    if (result === undefined || result.done) return;
    yield result.value;
  }
}

function files(): Promise<typeof import("node:fs/promises")> {
  return import(/* webpackIgnore: true */ /* @vite-ignore */ "node:fs/promises");
}

async function get(url: URL, signal: AbortSignal | undefined): Promise<Response> {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(`Cannot fetch ${url}: ${response.status} ${response.statusText}`);
  return response;
}
