/** Decoded pixels, and the square in their middle as the model's training images were cut. */

/** Bytes row after row: RGB, or RGBA with the alpha not multiplied in, as `ImageData` and decoders give them. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** RGB bytes, (H, W, 3). Transparency goes over white. Throws where the bytes are not width x height pixels. */
export function toRgb(picture: Picture): Uint8Array {
  const { width, height, data } = picture;
  const pixels = width * height;
  const channels = data.length / pixels;
  if (!(pixels > 0) || (channels !== 3 && channels !== 4)) {
    throw new RangeError(`${data.length} bytes are no ${width}x${height} picture; give RGB or RGBA bytes`);
  }
  if (channels === 3) return new Uint8Array(data.buffer, data.byteOffset, data.length);
  const rgb = new Uint8Array(3 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const alpha = data[4 * pixel + 3]!;
    for (let c = 0; c < 3; c++) rgb[3 * pixel + c] = overWhite(data[4 * pixel + c]!, alpha);
  }
  return rgb;
}

/** level x alpha + 255 x (255 - alpha), divided by 255 as Pillow's alpha_composite rounds it. */
function overWhite(level: number, alpha: number): number {
  const sum = 128 * (level * alpha + 255 * (255 - alpha) + 128);
  return (((sum >> 8) + sum) >> 8) >> 7;
}

/** The RGB bytes of the largest centred square, and its side; an odd pixel is left over at the right or the bottom. */
export function centreSquare(picture: Picture): { pixels: Uint8Array; side: number } {
  const rgb = toRgb(picture);
  const side = Math.min(picture.width, picture.height);
  const left = Math.floor((picture.width - side) / 2);
  const top = Math.floor((picture.height - side) / 2);
  const pixels = new Uint8Array(3 * side * side);
  for (let row = 0; row < side; row++) {
    const start = 3 * ((top + row) * picture.width + left);
    pixels.set(rgb.subarray(start, start + 3 * side), 3 * side * row);
  }
  return { pixels, side };
}
