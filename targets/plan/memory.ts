/** The static memory plan: every buffer gets a fixed offset, and buffers that are never live together share bytes. */

/** Bytes that must stay whole from step `start` to step `end`, both included. */
export interface Lifetime {
  readonly id: string;
  readonly bytes: number;
  readonly start: number;
  readonly end: number;
}

export interface MemoryPlan {
  /** Offset of each buffer, by id; multiples of the alignment. */
  readonly offsets: ReadonlyMap<string, number>;
  /** End of the highest buffer. */
  readonly bytes: number;
  /** The most bytes that are live at once: no plan can be smaller. */
  readonly peakBytes: number;
}

interface Placed {
  readonly lifetime: Lifetime;
  readonly offset: number;
  readonly end: number;
}

export function alignUp(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/**
 * Places buffers by decreasing size, each in the smallest gap between the buffers that are live with it, or above
 * them (best-fit decreasing). Equal sizes go by start, then id, so the plan depends on nothing but the list.
 */
export function planMemory(lifetimes: readonly Lifetime[], alignment = 16): MemoryPlan {
  const order = lifetimes
    .map((lifetime) => ({ lifetime, bytes: Math.max(alignment, alignUp(lifetime.bytes, alignment)) }))
    .sort((a, b) =>
      b.bytes - a.bytes || a.lifetime.start - b.lifetime.start || compareText(a.lifetime.id, b.lifetime.id)
    );
  const placed: Placed[] = [];
  for (const { lifetime, bytes } of order) {
    const rivals = placed.filter((other) => liveTogether(other.lifetime, lifetime))
      .sort((a, b) => a.offset - b.offset);
    const offset = bestGap(rivals, bytes);
    placed.push({ lifetime, offset, end: offset + bytes });
  }
  return {
    offsets: new Map(placed.map(({ lifetime, offset }) => [lifetime.id, offset])),
    bytes: placed.reduce((most, { end }) => Math.max(most, end), 0),
    peakBytes: peakOf(order),
  };
}

function liveTogether(a: Lifetime, b: Lifetime): boolean {
  return a.start <= b.end && b.start <= a.end;
}

/** Offset of the smallest gap of at least `bytes` between rivals (ascending offsets), else the end of the last. */
function bestGap(rivals: readonly Placed[], bytes: number): number {
  let best: number | undefined;
  let bestSlack = Infinity;
  let cursor = 0;
  for (const rival of rivals) {
    const slack = rival.offset - cursor - bytes;
    if (slack >= 0 && slack < bestSlack) {
      best = cursor;
      bestSlack = slack;
    }
    cursor = Math.max(cursor, rival.end);
  }
  return best ?? cursor;
}

function peakOf(buffers: readonly { readonly lifetime: Lifetime; readonly bytes: number }[]): number {
  const changes = buffers.flatMap(({ lifetime, bytes }) => [
    { step: lifetime.start, bytes },
    { step: lifetime.end + 1, bytes: -bytes },
  ]).sort((a, b) => a.step - b.step || a.bytes - b.bytes);
  let live = 0;
  let peak = 0;
  for (const change of changes) {
    live += change.bytes;
    peak = Math.max(peak, live);
  }
  return peak;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
