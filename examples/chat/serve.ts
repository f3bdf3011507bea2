/**
 * Serves the chat page with a compiled model.
 *
 *   deno run -A examples/chat/serve.ts out/smollm2
 *   deno run -A examples/chat/serve.ts out/smollm2 --port 8080
 */

import { Command } from "commander";
import { build, stop } from "esbuild";
import { extname, join, normalize } from "node:path";

const mediaTypes: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".bin": "application/octet-stream",
};

const here = import.meta.dirname ?? ".";

/** The page's script with the tokenizer and template engine in it. */
export async function bundlePage(): Promise<Uint8Array<ArrayBuffer>> {
  const result = await build({
    entryPoints: [join(here, "page.ts")],
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
    absWorkingDir: join(here, "..", ".."),
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

/** Starts the server; port 0 picks a free one. The folder's files are under `/model/`. */
export function serveChat(
  folder: string,
  script: Uint8Array<ArrayBuffer>,
  port: number,
): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ port, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    const path = normalize(decodeURIComponent(new URL(request.url).pathname));
    if (path === "/page.js") return new Response(script, { headers: { "content-type": mediaTypes[".js"] } });
    if (path.startsWith("/model/")) return fileResponse(join(folder, path.slice("/model/".length)));
    return fileResponse(join(here, path === "/" ? "index.html" : path));
  });
}

if (import.meta.main) {
  const program = new Command("chat-server")
    .description("Serve the chat page with a language model that Quern compiled")
    .argument("<folder>", "the artifact: a folder written by `deno task compile`")
    .option("--port <number>", "port to listen on", "8000")
    .action(async (folder: string, options: { port: string }) => {
      const server = serveChat(folder, await bundlePage(), Number(options.port));
      console.log(`Chat at http://127.0.0.1:${server.addr.port}/ (Ctrl+C ends it)`);
      await server.finished;
    });
  await program.parseAsync(Deno.args, { from: "user" });
}
