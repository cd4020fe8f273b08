// @ts-check
/** Sound that was heard, kept, and as a WAV file. */

export const TAKE_S = 600; // s of the newest sound that are kept

/** The newest blocks of a sound. */
export class Tape {
  /** @type {Float32Array[]} */ #blocks = [];
  #nMost;
  length = 0; // samples

  /** @param {number} sampleRate Hz */
  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.#nMost = TAKE_S * sampleRate;
  }

  get seconds() {
    return this.length / this.sampleRate;
  }

  /** @param {Float32Array} block */
  add(block) {
    this.#blocks.push(block);
    this.length += block.length;
    while (this.length > this.#nMost) this.length -= /** @type {Float32Array} */ (this.#blocks.shift()).length;
  }

  clear() {
    this.#blocks = [];
    this.length = 0;
  }

  /** A WAV file of 16 bits, rounded as `wavegen generate` does: its samples are the same. @returns {Blob} */
  wav() {
    const bytes = new DataView(new ArrayBuffer(44 + 2 * this.length));
    const text = (/** @type {number} */ at, /** @type {string} */ name) =>
      [...name].forEach((letter, index) => bytes.setUint8(at + index, letter.charCodeAt(0)));
    text(0, "RIFF");
    bytes.setUint32(4, 36 + 2 * this.length, true);
    text(8, "WAVEfmt ");
    bytes.setUint32(16, 16, true); // bytes of what follows up to "data"
    bytes.setUint16(20, 1, true); // integers
    bytes.setUint16(22, 1, true); // channels
    bytes.setUint32(24, this.sampleRate, true);
    bytes.setUint32(28, 2 * this.sampleRate, true); // bytes per second
    bytes.setUint16(32, 2, true); // bytes per sample
    bytes.setUint16(34, 16, true); // bits per sample
    text(36, "data");
    bytes.setUint32(40, 2 * this.length, true);
    let at = 44;
    for (const block of this.#blocks)
      for (const sample of block) {
        bytes.setInt16(at, Math.min(Math.max(halvesToEven(sample * 32768), -32768), 32767), true);
        at += 2;
      }
    return new Blob([bytes.buffer], { type: "audio/wav" });
  }
}

/** The nearest integer, of two that are as near the even one, as numpy's rint. @param {number} value */
function halvesToEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** Let the browser save a file. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // after the browser has read it
}
