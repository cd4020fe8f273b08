// @ts-check
/**
 * A model in WebAssembly: wavegen's own kernel (engines/cpu/kernel.py), compiled for the browser, and a player file.
 * The same seed and options make the same samples as `wavegen generate`.
 */

const HEADER = { lanes: 4, description: 7, nDescription: 8, n: 16 }; // places of 64-bit integers (player_file.py)
const OPTIONS = ["temperature", "top_k", "top_p", "voiced_temperature", "guidance", "temperature_frames", "match"];
const WRONG = new Map([
  [-1n, "This is no model: expected a file that wavegen export --to web wrote."],
  [-2n, "This model was exported by another version of wavegen; export it again."],
  [-3n, "This model was exported for another kind of machine; export it with --to web."],
  [-4n, "This model file is damaged; load it again, or export it again."],
]);
const PAGE = 65536; // bytes of a page of WebAssembly's memory
const ALIGNED = 64; // bytes

/**
 * @typedef {object} Description what a player file says of its model
 * @property {string} name
 * @property {string} about
 * @property {string} credit
 * @property {number} sample_rate Hz; 0 of images
 * @property {number[]} shape height, width and colours of an image; empty for sound
 * @property {Record<string, string[]>} labels values by name
 * @property {Record<string, number | null>} decoding the model's own options, which hold until they are changed
 * @property {boolean} can_be_guided
 * @property {boolean} is_matched whether sound can be scaled until it has its frames
 * @property {boolean} is_planned whether its frames are planned, by a temperature of their own
 * @property {boolean} has_top whether it takes top_k and top_p
 * @property {string} precision of the file; a page says what it is played in instead (engine.js)
 */

/** One stream of a model. Its samples come block by block, from the beginning of time on. */
export class Player {
  /** @type {any} */ #exports;
  /** @type {bigint} */ #room;
  /** @type {number} */ #out;
  #capacity = 4096; // samples that fit behind the room

  /**
   * @param {WebAssembly.Module} module
   * @param {Uint8Array} file a player file
   * @param {bigint} seed
   * @throws {Error} with one sentence, if the file is none, damaged, or too large for the memory there is
   */
  constructor(module, file, seed) {
    const instance = new WebAssembly.Instance(module, {});
    this.#exports = instance.exports;
    this.#exports._initialize?.();
    const at = aligned(Number(this.#exports.__heap_base.value));
    this.#grow(at + file.length);
    new Uint8Array(this.#exports.memory.buffer).set(file, at);
    const room = this.#exports.wavegen_room(BigInt(at), BigInt(file.length));
    if (room < 0n) throw new Error(WRONG.get(room));
    const roomAt = aligned(at + file.length);
    this.#room = BigInt(roomAt);
    this.#out = aligned(roomAt + Number(room));
    this.#grow(this.#out + 4 * this.#capacity);
    this.#exports.wavegen_start(BigInt(at), this.#room, BigInt.asIntN(64, seed));
    /** @type {Description} */
    this.description = descriptionOf(file);
  }

  /**
   * Go back to the beginning of time, or to an empty image.
   * @param {bigint} seed
   * @param {bigint} number of the sound or image among those of the seed
   */
  restart(seed, number = 0n) {
    this.#exports.wavegen_restart(this.#room, BigInt.asIntN(64, seed), BigInt.asIntN(64, number));
  }

  /**
   * Let the next colours of an image's pixels be given, and not drawn.
   * @param {Float32Array} values 0 to 1; what is to be drawn is -1; at most 4096, and no more than are left
   * @returns {boolean} whether there is room for so many
   */
  give(values) {
    new Float32Array(this.#exports.memory.buffer, this.#out, values.length).set(values);
    return this.#exports.wavegen_give(this.#room, BigInt(this.#out), BigInt(values.length)) === 1n;
  }

  /**
   * Change an option from the next sample on; null switches a filter off.
   * @param {string} name temperature, top_k, top_p, voiced_temperature, guidance, temperature_frames, or match (0 or 1)
   * @param {number | null} value
   * @returns {boolean} whether the model has it and takes the value; if not, nothing is changed
   */
  change(name, value) {
    const what = OPTIONS.indexOf(name);
    return what >= 0 && this.#exports.wavegen_change(this.#room, BigInt(what), value ?? NaN) === 1n;
  }

  /**
   * Change a label from the next sample on; null is "unknown".
   * @param {string} name
   * @param {string | null} value
   * @returns {boolean} whether the model knows it
   */
  changeLabel(name, value) {
    const names = Object.keys(this.description.labels);
    const values = this.description.labels[name] ?? [];
    const row = value === null ? values.length : values.indexOf(value);
    if (row < 0) return false;
    const what = BigInt(OPTIONS.length + names.indexOf(name));
    return this.#exports.wavegen_change(this.#room, what, row) === 1n;
  }

  /** Mean surprise of lately drawn codes, bits per sample; NaN at first, and where the model does not tell. */
  get bits() {
    return this.#exports.wavegen_bits(this.#room);
  }

  /**
   * The next n samples from -1 to 1, or of an image the next n colours of pixels from 0 to 1.
   * @param {number} n at most 4096
   * @returns {Float32Array} a copy
   */
  make(n) {
    this.#exports.wavegen_make(this.#room, BigInt(this.#out), BigInt(n));
    return new Float32Array(this.#exports.memory.buffer, this.#out, n).slice();
  }

  /** @param {number} nBytes of memory that are to be there */
  #grow(nBytes) {
    const missing = nBytes - this.#exports.memory.buffer.byteLength;
    if (missing > 0) this.#exports.memory.grow(Math.ceil(missing / PAGE));
  }
}

/** @param {Uint8Array} file @returns {Description} */
function descriptionOf(file) {
  const header = new DataView(file.buffer, file.byteOffset, 8 * HEADER.n);
  const place = Number(header.getBigInt64(8 * HEADER.description, true));
  const n = Number(header.getBigInt64(8 * HEADER.nDescription, true));
  return JSON.parse(new TextDecoder().decode(file.subarray(place, place + n)));
}

/** @param {number} place */
function aligned(place) {
  return Math.ceil(place / ALIGNED) * ALIGNED;
}
