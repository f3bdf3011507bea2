/** Serves what the language model bench loads: folders by name, and one page. */

import { extname, join, normalize } from "node:path";

const mediaTypes: Readonly<Record<string, string>> = {
  ".js": "text/javascript; charset=utf-8",
  ".wasm": "application/wasm",
  ".json": "application/json",
};

/** `routes` maps a first path segment to a file or folder; `/` is `page`, `/page.js` is `script`. */
export function serveFiles(
  routes: Readonly<Record<string, string>>,
  script: string,
): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const path = normalize(decodeURIComponent(new URL(request.url).pathname));
    if (path === "/") return html("<!doctype html><title>bench</title><script type=module src=/page.js></script>");
    if (path === "/page.js") return new Response(script, { headers: { "content-type": mediaTypes[".js"] } });
    const [, name, ...rest] = path.split("/");
    const root = routes[name];
    if (root === undefined) return new Response("Not found", { status: 404 });
    try {
      const file = await Deno.open(join(root, ...rest), { read: true });
      const { size } = await file.stat();
      const type = mediaTypes[extname(path)] ?? "application/octet-stream";
      return new Response(file.readable, { headers: { "content-type": type, "content-length": String(size) } });
    } catch {
      return new Response("Not found", { status: 404 });
    }
  });
}

function html(text: string): Response {
  return new Response(text, { headers: { "content-type": "text/html; charset=utf-8" } });
}
