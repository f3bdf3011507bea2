/** Starts tfjs: its WebAssembly backend, or the plain JavaScript one where that does not start. */

import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { setThreadsCount, setWasmPaths } from "@tensorflow/tfjs-backend-wasm";

let started: Promise<string> | undefined;

/** Name of the backend in use. Threads stay at one, so that sums have one order and runs repeat. */
export function startBackend(): Promise<string> {
  started ??= start();
  return started;
}

async function start(): Promise<string> {
  // The package is resolved to its main file; the .wasm files lie beside it.
  const folder = new URL(".", import.meta.resolve("@tensorflow/tfjs-backend-wasm"));
  setWasmPaths(decodeURIComponent(folder.pathname));
  setThreadsCount(1);
  if (!await tf.setBackend("wasm").catch(() => false)) await tf.setBackend("cpu");
  await tf.ready();
  return tf.getBackend();
}
