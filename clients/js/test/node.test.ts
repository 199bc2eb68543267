import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import * as ort from "onnxruntime-node";

import { AgeEstimator, openModel } from "../src/node.js";
import { GOLDEN, MODEL, picture } from "./golden.js";

const estimator = await openModel(MODEL);

for (const vector of GOLDEN.vectors) {
  test(`${vector.picture} gets its age`, async () => {
    const estimate = await estimator.estimate(picture(vector));
    for (const name of ["age", "low", "high"] as const) {
      const difference = Math.abs(estimate[name]! - vector[name]);
      assert.ok(difference <= GOLDEN.tolerance_years, `${name}: ${estimate[name]} is not ${vector[name]}`);
    }
  });
}

test("the probabilities sum to 1, one for each year", async () => {
  const { probabilities } = await estimator.estimate(picture(GOLDEN.vectors[0]!));
  const { min_age, max_age } = estimator.description;
  assert.equal(probabilities!.length, max_age - min_age + 1);
  assert.ok(Math.abs(probabilities!.reduce((sum, p) => sum + p, 0) - 1) < 1e-5); // 117 sums in float32
});

test("a description of another file is refused", async () => {
  const [model, text] = await Promise.all([readFile(MODEL), readFile(`${MODEL}.json`, "utf8")]);
  const other = JSON.stringify({ ...JSON.parse(text), sha256: "0".repeat(64) });
  await assert.rejects(AgeEstimator.create(ort, new Uint8Array(model), other), /of another model file/);
});
