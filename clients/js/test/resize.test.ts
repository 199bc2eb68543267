import assert from "node:assert/strict";
import { test } from "node:test";

import { centreSquare, toRgb } from "../src/picture.js";
import { resize } from "../src/resize.js";
import { GOLDEN, picture, read } from "./golden.js";

for (const vector of GOLDEN.vectors) {
  test(`${vector.picture} becomes the very pixels of the runtime`, () => {
    const { pixels, side } = centreSquare(picture(vector));
    assert.deepEqual(resize(pixels, side, GOLDEN.image_size, GOLDEN.resampling), read(vector.face));
  });
}

test("a picture of the model's size stays as it is", () => {
  const pixels = Uint8Array.from({ length: 27 }, (_, index) => (index * 97) % 256);
  for (const filter of ["bilinear", "bicubic"] as const) assert.deepEqual(resize(pixels, 3, 3, filter), pixels);
});

test("two pixels become their mean, rounded up", () => {
  const pixels = Uint8Array.from([0, 10, 255, 1, 10, 255, 0, 10, 255, 1, 10, 255]);
  assert.deepEqual(resize(pixels, 2, 1, "bilinear"), Uint8Array.from([1, 10, 255]));
});

test("the odd pixel is left over at the right", () => {
  const data = Uint8Array.from([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
  assert.deepEqual(centreSquare({ width: 4, height: 1, data }).pixels, Uint8Array.from([2, 2, 2]));
});

test("transparency goes over white", () => {
  const data = Uint8Array.from([9, 9, 9, 0, 9, 8, 7, 255, 0, 0, 0, 128]);
  assert.deepEqual(toRgb({ width: 3, height: 1, data }), Uint8Array.from([255, 255, 255, 9, 8, 7, 127, 127, 127]));
});

test("bytes that are no picture are refused", () => {
  assert.throws(() => toRgb({ width: 2, height: 2, data: new Uint8Array(5) }), /5 bytes are no 2x2 picture/);
});
