/** Name and version of this compiler, as artifacts state it. */

import configuration from "../deno.json" with { type: "json" };

export const version = configuration.version;
export const compilerName = `Quern ${version}`;
