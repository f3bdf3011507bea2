/** Serves an example page with a compiled model: the page's folder at `/`, the model's under `/model/`. */

import { build, stop } from "esbuild";
import { extname, join, normalize } from "node:path";

const mediaTypes: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".bin": "application/octet-stream",
};

const here = import.meta.dirname ?? ".";

export interface PageOptions {
  /** The example: its folder under `examples/`, with `index.html` and `page.ts`. */
  readonly example: "chat" | "ocr";
  /** The artifact. */
  readonly model: string;
  /** Port to listen on; 0 picks a free one. */
  readonly port: number;
  /** Further files by their path on the page. */
  readonly files?: Readonly<Record<string, string>>;
}

/** The page's script with all that it imports. */
async function bundlePage(example: string): Promise<Uint8Array<ArrayBuffer>> {
  const result = await build({
    entryPoints: [join(here, example, "page.ts")],
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
    absWorkingDir: join(here, ".."),
  });
  await stop();
  return new Uint8Array(result.outputFiles[0].contents);
}

async function fileResponse(path: string): Promise<Response> {
  try {
    const file = await Deno.open(path, { read: true });
    const { size, isFile } = await file.stat();
    if (!isFile) {
      file.close();
      return new Response("Not found", { status: 404 });
    }
    const type = mediaTypes[extname(path)] ?? "application/octet-stream";
    return new Response(file.readable, { headers: { "content-type": type, "content-length": String(size) } });
  } catch {
    return new Response("Not found", { status: 404 });
  }
}

/** Starts the server. */
export async function servePage(
  { example, model, port, files = {} }: PageOptions,
): Promise<Deno.HttpServer<Deno.NetAddr>> {
  const script = await bundlePage(example);
  return Deno.serve({ port, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    const path = normalize(decodeURIComponent(new URL(request.url).pathname));
    if (path === "/page.js") return new Response(script, { headers: { "content-type": mediaTypes[".js"] } });
    if (path === "/style.css") return fileResponse(join(here, "style.css"));
    if (path in files) return fileResponse(files[path]);
    if (path.startsWith("/model/")) return fileResponse(join(model, path.slice("/model/".length)));
    return fileResponse(join(here, example, path === "/" ? "index.html" : path));
  });
}
