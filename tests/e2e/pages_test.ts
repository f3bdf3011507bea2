/** The chat page in headless Chromium: weights load with progress, and an answer streams in. */

import assert from "node:assert/strict";
import { servePage } from "../../examples/page_server.ts";
import { chromiumTest, withPage } from "../support/chromium.ts";
import { smolArtifact } from "../support/smollm2.ts";

const smol = await smolArtifact("as-is");

chromiumTest("the chat page answers with SmolLM2: France's capital is Paris", smol !== undefined, async () => {
  const server = await servePage({ example: "chat", model: smol ?? "", port: 0 });
  try {
    await withPage(async (page) => {
      await page.goto(`http://127.0.0.1:${server.addr.port}/`);
      await page.waitForSelector("body[data-state=ready]", { timeout: 120_000 });
      await page.fill("#question", "What is the capital of France? Answer in one sentence.");
      await page.click("#send");
      await page.waitForSelector("body[data-state=busy]");
      await page.waitForSelector("body[data-state=ready]", { timeout: 180_000 });
      assert.match((await page.textContent(".message.assistant")) ?? "", /Paris/);
      assert.match((await page.textContent("#pace")) ?? "", /tokens\/s/);
    });
  } finally {
    await server.shutdown();
  }
});
