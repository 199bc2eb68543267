/** A picture of one face -> its age, with the ONNX Runtime that it is given. */

import type * as OrtCommon from "onnxruntime-common";

import { readDescription, type Description } from "./description.js";
import { centreSquare, toRgb, type Picture } from "./picture.js";
import { resize } from "./resize.js";

/** What is used of onnxruntime-node or onnxruntime-web. */
export type Ort = Pick<typeof OrtCommon, "InferenceSession" | "Tensor">;

/** Years. `low` and `high` bound the age with the model's nominal coverage; they are missing where it gives none. */
export interface Estimate {
  readonly age: number;
  readonly low?: number;
  readonly high?: number;
  /** Column k: the probability of `min_age + k` years; of a model with a distribution head. */
  readonly probabilities?: Float32Array;
}

export class AgeEstimator {
  private constructor(
    private readonly ort: Ort,
    private readonly session: OrtCommon.InferenceSession,
    /** What the model says about itself. */
    readonly description: Description,
  ) {}

  /** From the bytes of a model and the text of the JSON beside it. Throws where they don't belong together. */
  static async create(ort: Ort, model: Uint8Array<ArrayBuffer>, description: string): Promise<AgeEstimator> {
    const about = await readDescription(description, model);
    return new AgeEstimator(ort, await ort.InferenceSession.create(model), about);
  }

  /** The age of the face in a picture that is cut as the training images are: a face, not a whole photo. */
  async estimate(picture: Picture): Promise<Estimate> {
    const answers = await this.session.run({ [this.description.input.name]: this.input(picture) });
    const first = (name: string): number | undefined => (answers[name]?.data as Float32Array | undefined)?.[0];
    const age = first("age");
    if (age === undefined || !Number.isFinite(age)) throw new Error(`the model's answer is not a number: ${age}`);
    const low = first("low");
    const high = first("high");
    const probabilities = answers["probabilities"]?.data as Float32Array | undefined;
    return {
      age,
      ...(low === undefined || high === undefined ? {} : { low, high }),
      ...(probabilities === undefined ? {} : { probabilities }),
    };
  }

  /** The face that the network sees, RGB bytes, (S, S, 3): what golden vectors call `face`. */
  face(picture: Picture): Uint8Array {
    const { pixels, side } = centreSquare(picture);
    return resize(pixels, side, this.description.image_size, this.description.resampling);
  }

  private input(picture: Picture): OrtCommon.Tensor {
    if (this.description.input.name === "picture") {
      return new this.ort.Tensor("uint8", toRgb(picture), [1, picture.height, picture.width, 3]);
    }
    const size = this.description.image_size;
    return new this.ort.Tensor("uint8", this.face(picture), [1, size, size, 3]);
  }
}
