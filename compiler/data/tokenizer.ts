/** The tokenizer that stands beside a model, as Hugging Face writes it. */

import { Tokenizer } from "@huggingface/tokenizers";
import { fail } from "../diagnostics.ts";

export type Assets = Readonly<Record<string, Uint8Array>>;

/** Encodes text without special tokens; undefined where the assets hold no tokenizer.json. Throws DiagnosticError (Q0908). */
export function encoderOf(assets: Assets): ((text: string) => readonly number[]) | undefined {
  const bytes = assets["tokenizer.json"];
  if (bytes === undefined) return undefined;
  const configuration = assets["tokenizer_config.json"];
  try {
    const decode = (data: Uint8Array): Record<string, unknown> => JSON.parse(new TextDecoder().decode(data));
    const tokenizer = new Tokenizer(decode(bytes), configuration === undefined ? {} : decode(configuration));
    return (text) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  } catch (error) {
    return fail("Q0908", "The model's tokenizer.json is not one that Quern reads", {
      notes: [error instanceof Error ? error.message : String(error)],
    });
  }
}
