/** The chat page in headless Chromium: weights load with progress, and an answer streams in. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import { bundlePage, serveChat } from "../../examples/chat/serve.ts";
import { smolArtifact } from "../support/smollm2.ts";

const chromiumPath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));
const artifact = chromiumPath === undefined ? undefined : await smolArtifact("as-is");
if (artifact === undefined) {
  console.log(
    'Skipped "the chat page answers": needs Debian\'s chromium and SmolLM2 (QUERN_FETCH=1 downloads it to a cache).',
  );
}

Deno.test({
  name: "the chat page answers in Chromium: France's capital is Paris",
  ignore: artifact === undefined,
  fn: async () => {
    assert.ok(artifact !== undefined && chromiumPath !== undefined);
    const server = serveChat(artifact, await bundlePage(), 0);
    const browser = await chromium.launch({
      executablePath: chromiumPath,
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
    });
    try {
      const page = await browser.newPage();
      const errors: string[] = [];
      page.on("pageerror", (error) => errors.push(error.message));
      await page.goto(`http://127.0.0.1:${server.addr.port}/`);
      await page.waitForSelector("body[data-state=ready]", { timeout: 120_000 });
      await page.fill("#question", "What is the capital of France? Answer in one sentence.");
      await page.click("#send");
      await page.waitForSelector("body[data-state=busy]");
      await page.waitForSelector("body[data-state=ready]", { timeout: 180_000 });
      const answer = await page.textContent(".message.assistant");
      assert.match(answer ?? "", /Paris/);
      assert.match((await page.textContent("#pace")) ?? "", /tokens\/s/);
      assert.deepEqual(errors, []);
    } finally {
      await browser.close();
      await server.shutdown();
    }
  },
});
