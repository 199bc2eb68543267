/**
 * Pillow's antialiased resize, to the last bit: the ages of another filter are wrong by up to 13 years, a canvas's by 23.
 *
 * Two passes, along the rows and then along the columns, with coefficients of 22 binary digits after the point; each
 * pass rounds to whole levels.
 */

const DIGITS = 22;

export type Resampling = "bilinear" | "bicubic";

/** A filter's reach in pixels of the smaller picture, and its weight at a distance. */
interface Kernel {
  readonly reach: number;
  readonly weight: (distance: number) => number;
}

const KERNELS: Record<Resampling, Kernel> = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - x) },
  bicubic: { reach: 2, weight: cubic }, // Keys (1981), a = -1/2
};

function cubic(x: number): number {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0;
}

/** The pixels from `first` on that one output pixel is made of, each with its coefficient. */
interface Span {
  readonly first: number;
  readonly coefficients: Int32Array;
}

/** A square of `side` pixels, RGB bytes, to one of `size` pixels. */
export function resize(pixels: Uint8Array, side: number, size: number, resampling: Resampling): Uint8Array {
  const spans = Array.from({ length: size }, (_, output) => span(output, side, size, KERNELS[resampling]));
  const narrow = pass(pixels, spans, { lines: side, pixelStep: 3, lineStep: 3 * side }, { pixelStep: 3, lineStep: 3 * size });
  return pass(narrow, spans, { lines: size, pixelStep: 3 * size, lineStep: 3 }, { pixelStep: 3 * size, lineStep: 3 });
}

function span(output: number, side: number, size: number, kernel: Kernel): Span {
  const scale = side / size;
  const stretch = Math.max(scale, 1);
  const centre = (output + 0.5) * scale;
  const first = Math.max(0, Math.trunc(centre - kernel.reach * stretch + 0.5));
  const end = Math.min(side, Math.trunc(centre + kernel.reach * stretch + 0.5));
  const weights = Array.from({ length: end - first }, (_, k) => kernel.weight(Math.abs((first + k - centre + 0.5) / stretch)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const fixed = weights.map((weight) => (weight / total) * 2 ** DIGITS);
  return { first, coefficients: Int32Array.from(fixed, (value) => Math.trunc(value < 0 ? value - 0.5 : value + 0.5)) };
}

/** How far apart in the bytes two pixels of a line are, and two lines. */
interface Steps {
  readonly pixelStep: number;
  readonly lineStep: number;
}

function pass(from: Uint8Array, spans: readonly Span[], source: Steps & { lines: number }, target: Steps): Uint8Array {
  const to = new Uint8Array(3 * source.lines * spans.length);
  for (let line = 0; line < source.lines; line++) {
    for (const [output, { first, coefficients }] of spans.entries()) {
      const start = line * source.lineStep + first * source.pixelStep;
      const place = line * target.lineStep + output * target.pixelStep;
      for (let channel = 0; channel < 3; channel++) {
        let sum = 1 << (DIGITS - 1);
        for (let k = 0; k < coefficients.length; k++) sum += from[start + k * source.pixelStep + channel]! * coefficients[k]!;
        to[place + channel] = Math.min(255, Math.max(0, sum >> DIGITS));
      }
    }
  }
  return to;
}
