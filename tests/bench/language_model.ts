/** SmolLM2-135M decoding in headless Chromium: ours against wllama on the same GGUF file, one thread each. */

import { build, stop } from "esbuild";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { fetchedFile, smollm2 } from "../support/fetched.ts";
import { smolArtifact } from "../support/smollm2.ts";
import { serveFiles } from "./chat_server.ts";
import type { PageRequest, PageTiming } from "./language_model_page.ts";
import { median } from "./measure.ts";
import type { PartResult } from "./report.ts";

const root = join(import.meta.dirname ?? ".", "..", "..");
const browsers = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];
const recipes = ["as-is", "w4a8"];

async function pageScript(): Promise<string> {
  const result = await build({
    entryPoints: [join(root, "tests", "bench", "language_model_page.ts")],
    bundle: true,
    format: "esm",
    write: false,
    absWorkingDir: root,
  });
  await stop();
  return result.outputFiles[0].text;
}

export async function benchLanguageModel(rounds: number, show: (stage: string) => void): Promise<PartResult> {
  const browser = browsers.find((path) => existsSync(path));
  const wllama = join(root, "node_modules", "@wllama", "wllama", "esm");
  if (browser === undefined) return { skipped: "Debian's chromium is not installed" };
  if (!existsSync(wllama)) return { skipped: "@wllama/wllama is not installed" };
  const routes: Record<string, string> = { wllama };
  for (const recipe of recipes) {
    show(`language model: compile ${recipe}`);
    const folder = await smolArtifact(recipe);
    if (folder === undefined) return { skipped: "SmolLM2 is not in the cache; QUERN_FETCH=1 downloads it" };
    routes[recipe] = folder;
  }
  routes.gguf = fetchedFile(smollm2) ?? "";
  show("language model: decode in Chromium");
  return summarize(
    await decodeIn(browser, routes, {
      artifacts: Object.fromEntries(recipes.map((recipe) => [`Quern ${recipe}`, `/${recipe}`])),
      gguf: "/gguf",
      wllama: "/wllama",
      rounds,
      tokens: 8,
      prompt: 64,
    }),
  );
}

async function decodeIn(
  executablePath: string,
  routes: Readonly<Record<string, string>>,
  request: PageRequest,
): Promise<readonly PageTiming[]> {
  const server = serveFiles(routes, await pageScript());
  const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
  });
  try {
    const page = await browser.newPage();
    const address = `http://127.0.0.1:${server.addr.port}`;
    await page.goto(`${address}/`);
    await page.waitForFunction("globalThis.runPage !== undefined");
    const absolute = {
      ...request,
      gguf: address + request.gguf,
      wllama: address + request.wllama,
    };
    return await page.evaluate<readonly PageTiming[]>(`globalThis.runPage(${JSON.stringify(absolute)})`);
  } finally {
    await browser.close();
    await server.shutdown();
  }
}

function summarize(timings: readonly PageTiming[]): PartResult {
  const speed = ({ rounds }: PageTiming): number => 1000 / median(rounds);
  const peer = speed(timings[0]);
  return {
    tables: [{
      title: "SmolLM2-135M-Instruct (Q4_1, head Q8_0) in headless Chromium, 64 tokens of prompt, then one at a time.",
      columns: ["", "tokens/s", "ms a token", "speed / wllama", "prompt, ms"],
      rows: timings.map((timing) => [
        timing.name,
        speed(timing).toFixed(1),
        median(timing.rounds).toFixed(1),
        `${(speed(timing) / peer).toFixed(2)} x`,
        timing.prompt.toFixed(0),
      ]),
    }],
    verdicts: timings.slice(1).map((timing) => ({
      target: `${timing.name} decodes at least 2 x as fast as wllama`,
      measured: `${(speed(timing) / peer).toFixed(2)} x`,
      met: speed(timing) >= 2 * peer,
    })),
  };
}
