/** For browsers, with onnxruntime-web: `(await openModel("model.onnx")).estimate(await decode(file))`. */

import * as ort from "onnxruntime-web";

import { AgeEstimator } from "./estimator.js";
import type { Picture } from "./picture.js";

export { AgeEstimator, type Estimate } from "./estimator.js";
export type { Description } from "./description.js";
export type { Picture } from "./picture.js";

/** Fetches a model and the JSON beside it. */
export async function openModel(url: string): Promise<AgeEstimator> {
  const [model, description] = await Promise.all([fetched(url), fetched(`${url}.json`)]);
  return AgeEstimator.create(ort, new Uint8Array(await model.arrayBuffer()), await description.text());
}

async function fetched(url: string): Promise<Response> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return response;
}

/**
 * The pixels of an image file, upright, in sRGB as the runtime converts them, the alpha not multiplied in.
 *
 * A PNG's are exact; levels of a JPEG or of a picture with a colour profile may differ by one or two from the runtime's.
 */
export async function decode(file: Blob): Promise<Picture> {
  const bitmap = await createImageBitmap(file, {
    colorSpaceConversion: "default",
    imageOrientation: "from-image",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error(`${width}x${height}: the browser has no canvas for so many pixels`);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}
