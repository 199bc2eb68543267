/** `model.onnx.json`, which agedetect-export writes beside a model: ONNX Runtime's JavaScript can't read its metadata. */

import type { Resampling } from "./resize.js";

export interface Description {
  readonly schema: number;
  readonly sha256: string;
  /** Pixels a side of the face that the network sees. */
  readonly image_size: number;
  readonly resampling: Resampling;
  readonly input: { readonly name: "faces" | "picture" };
  readonly outputs: readonly { readonly name: string }[];
  /** How often `low` and `high` hold the true age, 0.9 being nine in ten; null for a model without intervals. */
  readonly coverage: number | null;
  readonly min_age: number;
  readonly max_age: number;
  /** The model card, Markdown: what the model is for, and its figures. */
  readonly card: string;
  readonly provenance: Readonly<Record<string, unknown>>;
}

/** Throws where the text is of another schema, or not of the model whose bytes are given. */
export async function readDescription(text: string, model: Uint8Array<ArrayBuffer>): Promise<Description> {
  const about = JSON.parse(text) as Description;
  if (about.schema !== 1) throw new Error(`schema ${about.schema} is unknown; this client reads schema 1`);
  if (!(about.resampling === "bilinear" || about.resampling === "bicubic")) {
    throw new Error(`resampling ${String(about.resampling)} is unknown`);
  }
  if ((await digest(model)) !== about.sha256) {
    throw new Error("the description is of another model file; take the .onnx and the .onnx.json of one export");
  }
  return about;
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!globalThis.crypto?.subtle) throw new Error("a page needs https or localhost to check the model's digest");
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
