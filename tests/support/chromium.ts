/** Headless Chromium with WebGPU on its software rasterizer, and a server of one folder. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";

export const chromiumPath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));

/** Runs `body` with a fresh page of a browser of its own; errors of the page fail it. */
export async function withPage(body: (page: Page) => Promise<void>): Promise<void> {
  const browser: Browser = await chromium.launch({
    executablePath: chromiumPath,
    args: [
      ...["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
      ...["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
    ],
  });
  try {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    await body(page);
    if (errors.length > 0) throw new Error(`The page failed: ${errors.join("; ")}`);
  } finally {
    await browser.close();
  }
}

/** Serves the files of a folder, and an empty page at `/`. */
export async function withServer(folder: string, body: (address: string) => Promise<void>): Promise<void> {
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/") {
      return new Response("<!doctype html><link rel=icon href=data:,>", { headers: { "content-type": "text/html" } });
    }
    try {
      const type = pathname.endsWith(".js") ? "text/javascript" : "application/octet-stream";
      return new Response(await Deno.readFile(join(folder, pathname)), { headers: { "content-type": type } });
    } catch {
      return new Response("Not found", { status: 404 });
    }
  });
  try {
    await body(`http://127.0.0.1:${server.addr.port}`);
  } finally {
    await server.shutdown();
  }
}

/** Registers a test that needs Chromium; without it a line says so. */
export function chromiumTest(name: string, isReady: boolean, body: () => Promise<void>): void {
  const ignore = chromiumPath === undefined || !isReady;
  if (ignore) console.log(`Skipped "${name}": it needs Debian's chromium and the shared models.`);
  Deno.test({ name, ignore, fn: body });
}
