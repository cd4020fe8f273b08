// @ts-check
/**
 * A model played like an instrument, as generation/live.py: what is asked of it takes effect with the next block,
 * without a click. With no change it is the sound that `wavegen generate` makes of the same seed.
 */

export const BLOCK = 256; // samples made at a time
const LOOP_S = 0.5; // s of sound that repeat while it is frozen
const SILENCE = 1e-3; // of full scale: a sound that stays below it for as long as a loop has ended

/** What `Live` asks of a player (player.js). @typedef {import("./player.js").Player} Player */

/** Endless sound of a player, and what can be changed while it plays. */
export class Live {
  take = 0; // counts the beginnings that were asked for
  isFrozen = false;
  beginsAgain = false; // with the next seed, where the sound has ended
  #seed = 0n;
  /** @type {Player} */ #player;
  /** @type {Float32Array[]} */ #recent = [];
  #nRecent; // blocks of a loop
  #nSilent = 0; // blocks in a row
  /** @type {bigint | null} */ #nextSeed = null;
  /** @type {Loop | null} */ #loop = null;

  /** @param {Player} player @param {bigint} seed */
  constructor(player, seed) {
    this.#player = player;
    this.#nRecent = Math.max(1, Math.round((LOOP_S * player.description.sample_rate) / BLOCK));
    this.#begin(seed);
  }

  /** Of the sound, or of what is asked for and comes with the next block. */
  get seed() {
    return this.#nextSeed ?? this.#seed;
  }

  /** Whether the next block is, as far as is known, of a loop: no work for the network. */
  get isLooping() {
    return this.#loop !== null && this.isFrozen && this.#nextSeed === null;
  }

  /** Whether the newest half second is silent. */
  get hasEnded() {
    return this.#nSilent >= this.#nRecent;
  }

  /** @param {string} name @param {number | null} value */
  change(name, value) {
    return this.#player.change(name, value);
  }

  /**
   * The sound bends as the network goes on; where it has ended it begins anew.
   * @param {string} name @param {string | null} value
   */
  changeLabel(name, value) {
    const isKnown = this.#player.changeLabel(name, value);
    if (isKnown && this.hasEnded && this.#nextSeed === null) this.#begin(this.#seed);
    return isKnown;
  }

  /** Begin anew, and let go what is frozen. @param {bigint} seed */
  restart(seed) {
    this.take += 1;
    this.isFrozen = false;
    if (this.#recent.length === 0 && this.#loop === null)
      this.#begin(seed); // nothing to fade from
    else this.#nextSeed = seed;
  }

  /** The next samples. @returns {Float32Array} */
  block() {
    const block = this.#next();
    if (this.#recent.push(block.slice()) > this.#nRecent) this.#recent.shift();
    this.#nSilent = block.some((sample) => Math.abs(sample) >= SILENCE) ? 0 : this.#nSilent + 1;
    return block;
  }

  #next() {
    if (this.#nextSeed !== null) {
      const before = this.#read();
      this.#loop = null;
      this.#begin(this.#nextSeed);
      return cross(before, this.#player.make(BLOCK));
    }
    if (this.isFrozen && this.#loop === null && this.#recent.length > 0) {
      this.#loop = new Loop(this.#recent);
      return cross(this.#player.make(BLOCK), this.#loop.read());
    }
    if (!this.isFrozen && this.#loop !== null) {
      const before = this.#loop.read();
      this.#loop = null;
      return cross(before, this.#player.make(BLOCK));
    }
    if (this.beginsAgain && this.hasEnded && this.#loop === null) this.#begin(BigInt.asUintN(64, this.#seed + 1n));
    return this.#read();
  }

  #read() {
    return this.#loop === null ? this.#player.make(BLOCK) : this.#loop.read();
  }

  /** @param {bigint} seed */
  #begin(seed) {
    this.#seed = seed;
    this.#nextSeed = null;
    this.#recent = [];
    this.#nSilent = 0;
    this.#player.restart(seed);
  }
}

/** A stretch of sound that repeats without a seam: its end fades into what led to its beginning. */
class Loop {
  #sound;
  #position = 0;

  /** @param {Float32Array[]} blocks */
  constructor(blocks) {
    const whole = new Float32Array(blocks.length * BLOCK);
    blocks.forEach((block, index) => whole.set(block, index * BLOCK));
    const nFade = Math.min(BLOCK, whole.length >> 1);
    this.#sound = whole.slice(nFade);
    const end = this.#sound.length - nFade;
    this.#sound.set(cross(this.#sound.subarray(end), whole.subarray(0, nFade)), end);
  }

  read() {
    const block = new Float32Array(BLOCK);
    for (let index = 0; index < BLOCK; index++) {
      block[index] = this.#sound[this.#position];
      this.#position = (this.#position + 1) % this.#sound.length;
    }
    return block;
  }
}

/** Fade from one sound to another, whose powers add up. @param {Float32Array} before @param {Float32Array} after */
function cross(before, after) {
  return before.map((sample, index) => {
    const angle = ((Math.PI / 2) * index) / (before.length - 1);
    return sample * Math.cos(angle) + after[index] * Math.sin(angle);
  });
}
