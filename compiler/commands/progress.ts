/** Shows progress on stderr: one bar on a terminal, one line a stage elsewhere. */

import process from "node:process";
import cliProgress from "cli-progress";
import type { Progress } from "../driver.ts";

export interface ProgressView {
  readonly show: (progress: Progress) => void;
  readonly stop: () => void;
}

/** `quiet` shows nothing. */
export function progressView(quiet = false): ProgressView {
  if (quiet) return { show: () => undefined, stop: () => undefined };
  return process.stderr.isTTY ? barView() : lineView();
}

function barView(): ProgressView {
  const bar = new cliProgress.SingleBar({
    format: "{bar} {percentage}% {stage}",
    barsize: 24,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    // Stages hold the thread for long stretches; draw what is known as soon as it is told.
    fps: 30,
    barCompleteChar: "#",
    barIncompleteChar: ".",
  });
  let started = false;
  return {
    show: ({ stage, fraction }) => {
      if (!started) bar.start(100, 0, { stage });
      started = true;
      bar.update(Math.round(100 * fraction), { stage });
    },
    stop: () => {
      if (started) bar.stop();
    },
  };
}

/** Stages that are over in less than this are not worth a line. */
const leastMs = 500;

function lineView(): ProgressView {
  const since = performance.now();
  let told = -Infinity;
  let last = "";
  return {
    show: ({ stage }) => {
      const now = performance.now() - since;
      if (stage === last || now - told < leastMs) return;
      told = now;
      last = stage;
      process.stderr.write(`[${(now / 1000).toFixed(1)} s] ${stage}\n`);
    },
    stop: () => undefined,
  };
}
