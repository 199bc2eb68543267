/** For Node, with onnxruntime-node: `(await openModel("model.onnx")).estimate(picture)`. */

import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";

import { AgeEstimator } from "./estimator.js";

export { AgeEstimator, type Estimate } from "./estimator.js";
export type { Description } from "./description.js";
export type { Picture } from "./picture.js";

/** Opens a model and the JSON beside it. */
export async function openModel(path: string): Promise<AgeEstimator> {
  const [model, description] = await Promise.all([readFile(path), readFile(`${path}.json`, "utf8")]);
  return AgeEstimator.create(ort, new Uint8Array(model), description);
}
