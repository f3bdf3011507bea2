/** The example pages in headless Chromium: weights load with progress, and the text is right on every target. */

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
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

/** A software device compiles the shaders of a whole model for minutes where it shares its cores. */
const patience = 600_000;

const targetNames = { wasm: "WebAssembly", wgsl: "WebGPU" } as const;
type TargetName = keyof typeof targetNames;

/** Widths of a telephone and of a desk, in pixels. */
const widths = [390, 1280];

async function withServed(server: Deno.HttpServer<Deno.NetAddr>, body: (address: string) => Promise<void>) {
  try {
    await body(`http://127.0.0.1:${server.addr.port}/`);
  } finally {
    await server.shutdown();
  }
}

/** Waits until the page has no work left; a page that failed says why. */
async function untilReady(page: Page): Promise<void> {
  await page.waitForSelector("body:is([data-state=ready], [data-state=failed])", { timeout: patience });
  assert.equal(await page.getAttribute("body", "data-state"), "ready", await page.innerText("main"));
}

/** Takes the target switch and checks what the page tells of the load. */
async function switchTo(page: Page, target: TargetName): Promise<void> {
  await page.selectOption("#target", target);
  await page.waitForURL(`**/?target=${target}`);
  await untilReady(page);
  assert.equal(await page.textContent("#facts"), `${targetNames[target]} on this device; nothing leaves it.`);
  assert.equal(await page.getAttribute("#progress", "value"), "1");
  assert.match((await page.textContent("#progress-label")) ?? "", /^Loading weights, ([\d.]+ MB) of \1$/);
}

/** Nothing is wider than the screen. Screenshots go to the folder that QUERN_SCREENSHOTS names. */
async function look(page: Page, name: string): Promise<void> {
  const folder = process.env.QUERN_SCREENSHOTS;
  for (const width of widths) {
    await page.setViewportSize({ width, height: 800 });
    assert.ok(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), `${name} at ${width} pixels`);
    if (folder === undefined) continue;
    await mkdir(folder, { recursive: true });
    await page.screenshot({ path: join(folder, `${name}-${width}.png`) });
  }
}

/** Positions that the compiled stories model holds. */
const positions = 256;
const storiesFiles = ["stories260k/config.json", "stories260k/model.safetensors", "lm-stories260k/tokenizer.json"];

/** Compiles the stories model, with the tokenizer that its ONNX exports carry, for both targets. */
async function compileStories(folder: string): Promise<string> {
  const model = join(folder, "stories260k");
  await mkdir(model);
  for (const file of storiesFiles) await copyFile(sharedFile(file) ?? "", join(model, file.split("/")[1]));
  const special = { bos_token: "\n<s>\n", eos_token: "\n</s>\n" };
  await writeFile(join(model, "tokenizer_config.json"), JSON.stringify(special));
  const out = join(folder, "out");
  const result = await compileModel({
    ...{ model, out, recipe: "as-is", logits: "last", target: "wasm,wgsl" },
    bind: { seq: { min: 1, max: 32 }, total: positions },
  });
  assert.ok(result.ok, result.diagnostics.map(formatDiagnostic).join("\n"));
  return out;
}

const prompt = "Once upon a time";

/** The reference's greedy story after the prompt, which is its beginning too, and the number of its tokens. */
async function referenceStory(): Promise<{ readonly text: string; readonly tokens: number }> {
  const read = async (file: string) => JSON.parse(await readFile(sharedFile(`stories260k/${file}`) ?? "", "utf8"));
  const [{ greedy_from_bos: ids }, { pieces }] = [await read("expected.json"), await read("tokens.json")];
  const texts = ids.slice(1).map((id: number) => pieces[id] === "<0x0A>" ? "\n" : pieces[id]);
  const promptTokens = 4;
  assert.equal(texts.slice(0, promptTokens).join(""), ` ${prompt}`);
  return { text: texts.slice(promptTokens).join(""), tokens: texts.length - promptTokens };
}

/** Has the page go on with the prompt for at least so many tokens, then stops it. */
async function tell(page: Page, tokens: number): Promise<string> {
  await page.fill("#question", prompt);
  await page.click("#send");
  await page.waitForFunction(`parseInt(document.querySelector("#pace").textContent) >= ${tokens}`, undefined, {
    timeout: patience,
  });
  await page.click("#stop");
  await untilReady(page);
  assert.match((await page.textContent("#pace")) ?? "", /^\d+ tokens, (?!0\.0)[\d.]+ tokens\/s$/);
  return (await page.textContent(".message.assistant")) ?? "";
}

chromiumTest(
  "the chat page tells the reference's greedy story on WebAssembly and, switched, on WebGPU",
  storiesFiles.every((file) => sharedFile(file) !== undefined),
  () =>
    inFolder(async (folder) => {
      const model = await compileStories(folder);
      const story = await referenceStory();
      await withServed(await servePage({ example: "chat", model, port: 0 }), (address) =>
        withPage(async (page) => {
          await page.goto(address);
          await switchTo(page, "wasm");
          const whole = await tell(page, story.tokens);
          assert.equal(whole.slice(0, story.text.length), story.text);
          await look(page, "chat-wasm");
          await page.fill("#question", "Then");
          await page.click("#send");
          await untilReady(page);
          assert.match(await page.innerText(".message.error"), /holds no more text than this/);
          await switchTo(page, "wgsl");
          const beginning = await tell(page, 24);
          assert.ok(beginning.length > 60);
          assert.equal(beginning.slice(0, story.text.length), story.text.slice(0, beginning.length));
          await look(page, "chat-wgsl");
        }));
    }),
);

chromiumTest("the chat page says that a model has no tokenizer", true, () =>
  inFolder(async (folder) => {
    await withServed(await servePage({ example: "chat", model: folder, port: 0 }), (address) =>
      withPage(async (page) => {
        await page.goto(address);
        await page.waitForSelector("body[data-state=failed]");
        assert.match(await page.innerText(".message.error"), /no tokenizer\.json/);
        assert.ok(await page.isHidden("#loading"));
      }));
  }));

const smol = await smolArtifact("as-is");

chromiumTest("the chat page answers with SmolLM2: France's capital is Paris", smol !== undefined, async () => {
  await withServed(
    await servePage({ example: "chat", model: smol ?? "", port: 0 }),
    (address) =>
      withPage(async (page) => {
        await page.goto(address);
        await untilReady(page);
        await page.fill("#question", "What is the capital of France? Answer in one sentence.");
        await page.click("#send");
        await untilReady(page);
        assert.match((await page.textContent(".message.assistant")) ?? "", /Paris/);
        assert.match((await page.textContent("#pace")) ?? "", /tokens\/s/);
        await look(page, "chat-smollm2");
      }),
  );
});

/** The reading of a line that is typed into the page. */
async function readLine(page: Page, line: string): Promise<string | null> {
  await page.fill("#text", line);
  await page.click("#read");
  await untilReady(page);
  assert.match((await page.textContent("#pace")) ?? "", /^\d+ ms$/);
  return await page.textContent("#reading");
}

let recognizer: Promise<string> | undefined;

/** Folder of the recognizer in int8 for both targets, compiled by the first test that asks. */
function compiledRecognizer(): Promise<string> {
  return recognizer ??= (async () => {
    const out = await mkdtemp(join(tmpdir(), "quern-recognizer-"));
    globalThis.addEventListener("unload", () => rmSync(out, { recursive: true }));
    await compileRecognizer(out, "w8a8-static");
    return out;
  })();
}

const lines: Readonly<Record<TargetName, readonly string[]>> = {
  wasm: ["Room 404, turn left", "low-bit code", "Flight LH 2041 departs 07:45"],
  // One run takes seconds on a GPU that is a program.
  wgsl: ["Room 404"],
};

for (const target of ["wasm", "wgsl"] as const) {
  chromiumTest(
    `the text recognition page reads what it draws, in int8, on ${targetNames[target]}`,
    zooFile(zooModel("ocr-recognizer")) !== undefined,
    async () => {
      const model = await compiledRecognizer();
      await withServed(await serveRecognizer(model, 0), (address) =>
        withPage(async (page) => {
          await page.goto(address);
          await switchTo(page, target);
          assert.equal(await page.textContent("#reading"), "Quern reads this");
          for (const line of lines[target]) assert.equal(await readLine(page, line), line);
          await look(page, `ocr-${target}`);
        }));
    },
  );
}
