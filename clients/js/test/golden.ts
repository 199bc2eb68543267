/** The golden vectors of `agedetect-export --golden`, and the model that they are of. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Picture } from "../src/picture.js";
import type { Resampling } from "../src/resize.js";

interface Vector {
  picture: string;
  pixels: string;
  face: string;
  width: number;
  height: number;
  age: number;
  low: number;
  high: number;
}

function setting(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set. First: agedetect-export models:/... --output model.onnx --golden golden,
then: AGEDETECT_MODEL=model.onnx AGEDETECT_GOLDEN=golden npm test`);
  }
  return value;
}

export const MODEL = setting("AGEDETECT_MODEL");
export const FOLDER = setting("AGEDETECT_GOLDEN");
export const GOLDEN = JSON.parse(readFileSync(join(FOLDER, "golden.json"), "utf8")) as {
  image_size: number;
  resampling: Resampling;
  tolerance_years: number;
  vectors: Vector[];
};

export function read(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(FOLDER, name)));
}

export function picture(vector: Vector): Picture {
  return { width: vector.width, height: vector.height, data: read(vector.pixels) };
}
