/** The example pages in headless Chromium, on WebGPU (SwiftShader) and on WebAssembly: weights load, and the text is right. */

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { compileModel } from "../../compiler/driver.ts";
import { compileRecognizer, serveRecognizer } from "../../examples/ocr/serve.ts";
import { servePage } from "../../examples/page_server.ts";
import { inFolder } from "../support/artifacts.ts";
import { chromiumTest, withPage } from "../support/chromium.ts";
import { sharedFile } from "../support/models.ts";
import { smolArtifact } from "../support/smollm2.ts";
import { zooFile, zooModel } from "../support/zoo.ts";

const targets = { wgsl: /^WebGPU on this device/, wasm: /^WebAssembly on this device/ };
const widths = { phone: 390, desktop: 1280 };

/** Screenshots at both widths go where QUERN_SCREENSHOTS says; nothing may be wider than the screen. */
async function look(page: Page, name: string): Promise<void> {
  const folder = Deno.env.get("QUERN_SCREENSHOTS");
  for (const [size, width] of Object.entries(widths)) {
    await page.setViewportSize({ width, height: 800 });
    assert.ok(
      await page.evaluate("document.documentElement.scrollWidth <= innerWidth"),
      `${name} fits ${width} pixels`,
    );
    if (folder === undefined) continue;
    await mkdir(folder, { recursive: true });
    await page.screenshot({ path: join(folder, `${name}-${size}.png`) });
  }
}

async function waitFor(page: Page, state: string): Promise<void> {
  await page.waitForSelector(`body[data-state=${state}]`, { timeout: 240_000 });
}

async function ask(page: Page, question: string): Promise<string> {
  await page.fill("#question", question);
  await page.click("#send");
  await waitFor(page, "busy");
  return question;
}

const gguf = sharedFile("gguf-stories260k/stories260k.q8_0.gguf");

chromiumTest(
  "the chat page goes on with a story, alike on WebGPU and on WebAssembly",
  gguf !== undefined,
  () =>
    inFolder(async (folder) => {
      const out = join(folder, "stories");
      const bind = { seq: { min: 1, max: 32 }, total: 96 };
      const compiled = await compileModel({
        model: gguf ?? "",
        recipe: "as-is",
        logits: "last",
        bind,
        target: "wasm,wgsl",
        out,
      });
      assert.ok(compiled.ok, compiled.diagnostics.map(formatDiagnostic).join("\n"));
      const server = await servePage({ example: "chat", model: out, port: 0 });
      const stories: string[] = [];
      try {
        for (const [target, facts] of Object.entries(targets)) {
          await withPage(async (page) => {
            await page.goto(`http://127.0.0.1:${server.addr.port}/?target=${target}`);
            await waitFor(page, "ready");
            assert.match((await page.textContent("#facts")) ?? "", facts);
            await ask(page, "Once upon a time");
            await page.waitForFunction("parseInt(document.querySelector('#pace').textContent) >= 40", undefined, {
              timeout: 240_000,
            });
            await page.click("#stop");
            await waitFor(page, "ready");
            assert.match((await page.textContent("#pace")) ?? "", /\d+ tokens, [\d.]+ tokens\/s/);
            stories.push(((await page.textContent(".message.assistant")) ?? "").slice(0, 60));
            await look(page, `chat-${target}`);
          });
        }
      } finally {
        await server.shutdown();
      }
      assert.match(stories[0], /there was a|a little/);
      assert.equal(stories[0], stories[1]);
    }),
);

const smol = await smolArtifact("as-is");

chromiumTest("the chat page answers with SmolLM2: France's capital is Paris", smol !== undefined, async () => {
  const server = await servePage({ example: "chat", model: smol ?? "", port: 0 });
  try {
    await withPage(async (page) => {
      await page.goto(`http://127.0.0.1:${server.addr.port}/`);
      await waitFor(page, "ready");
      await ask(page, "What is the capital of France? Answer in one sentence.");
      await waitFor(page, "ready");
      assert.match((await page.textContent(".message.assistant")) ?? "", /Paris/);
    });
  } finally {
    await server.shutdown();
  }
});

chromiumTest(
  "the text recognition page reads its line on WebGPU and on WebAssembly",
  zooFile(zooModel("ocr-recognizer")) !== undefined,
  () =>
    inFolder(async (folder) => {
      const out = join(folder, "recognizer");
      await compileRecognizer(out, "as-is");
      const server = await serveRecognizer(out, 0);
      try {
        for (const [target, facts] of Object.entries(targets)) {
          await withPage(async (page) => {
            await page.goto(`http://127.0.0.1:${server.addr.port}/?target=${target}`);
            await waitFor(page, "ready");
            assert.match((await page.textContent("#facts")) ?? "", facts);
            assert.equal(await page.textContent("#reading"), "Quern reads this");
            await page.fill("#text", "Room 404, turn left");
            await page.click("#read");
            await page.waitForFunction(
              "document.querySelector('#reading').textContent !== 'Quern reads this'",
              undefined,
              {
                timeout: 240_000,
              },
            );
            assert.equal(await page.textContent("#reading"), "Room 404, turn left");
            assert.match((await page.textContent("#pace")) ?? "", /^\d+ ms$/);
            await look(page, `ocr-${target}`);
          });
        }
      } finally {
        await server.shutdown();
      }
    }),
);
