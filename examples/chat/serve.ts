/**
 * Serves the chat page with a compiled model.
 *
 *   deno task compile SmolLM2-135M-Instruct.Q4_1.gguf --bind seq=1..128,total=1024 --target wasm,wgsl --out out/smollm2
 *   deno run -A examples/chat/serve.ts out/smollm2
 */

import { Command } from "commander";
import { servePage } from "../page_server.ts";

const program = new Command("chat-server")
  .description("Serve the chat page with a language model that Quern compiled")
  .argument("<folder>", "the artifact: a folder written by `deno task compile`")
  .option("--port <number>", "port to listen on", "8000")
  .action(async (folder: string, options: { port: string }) => {
    const server = await servePage({ example: "chat", model: folder, port: Number(options.port) });
    console.log(`Chat at http://127.0.0.1:${server.addr.port}/ (Ctrl+C ends it)`);
    await server.finished;
  });

await program.parseAsync(Deno.args, { from: "user" });
