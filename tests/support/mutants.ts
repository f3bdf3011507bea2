/** Properties with mutants: a property proves something only if a wrong implementation fails it. */

import assert from "node:assert/strict";
import fc from "fast-check";

/** The values that mutants meet are the same in every run, so that a mutant once caught stays caught. */
const mutantSeed = 1;

/**
 * Checks that `property(value, "none")` holds for all values, and that `property(value, mutant)` fails for some value for
 * every mutant. The property puts the mutant's fault into its reference.
 */
export function assertWithMutants<T, Mutant extends string>(
  values: fc.Arbitrary<T>,
  mutants: readonly Mutant[],
  property: (value: T, mutant: Mutant | "none") => void,
  runs = 100,
): void {
  fc.assert(fc.property(values, (value) => property(value, "none")), { numRuns: runs });
  for (const mutant of mutants) {
    const result = fc.check(fc.property(values, (value) => property(value, mutant)), {
      numRuns: runs,
      seed: mutantSeed,
    });
    assert(result.failed, `The mutant "${mutant}" passes: the property does not see this fault`);
  }
}
