// @ts-check
/**
 * The audio thread: plays blocks that the worker sends, and asks for more as it plays them. Nothing but this decides
 * how much sound is made ahead. Blocks that were heard go on to the page, as they were heard.
 *
 * It waits (silent) until as much as wanted is ready, plays until nothing is, and then waits again. Where it plays as
 * the sound is made, such a wait is a drop-out, after which more is made ahead; it goes on when half of that is ready.
 */

const GROWTH = 1.5; // of what is made ahead, after a drop-out
const MOST_S = 2;
const QUANTA_PER_REPORT = 16; // of 128 samples, while it waits

class Playback extends AudioWorkletProcessor {
  /** @type {{block: Float32Array, take: number}[]} */ #blocks = [];
  /** @type {MessagePort | null} */ #worker = null;
  #offset = 0; // in the first block
  #nReady = 0;
  #nPlayed = 0;
  #nAhead = 0;
  #isWaiting = true;
  #isRendered = false; // whether so much is made first that a wait is meant
  #nDropouts = 0;
  #nSilent = 0; // samples of drop-outs
  #gain = 1;
  #nextGain = 1;
  #nQuanta = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.worker) {
        const worker = (this.#worker = data.worker);
        worker.onmessage = (/** @type {MessageEvent} */ message) => {
          this.#blocks.push(message.data);
          this.#nReady += message.data.block.length;
        };
      }
      if (data.gain !== undefined) this.#nextGain = data.gain;
      if (data.nAhead !== undefined) {
        this.#nAhead = data.nAhead;
        this.#isRendered = data.isRendered;
        this.#isWaiting ||= data.isRendered;
        this.#ask();
      }
    };
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs */
  process(_inputs, outputs) {
    const out = outputs[0][0];
    if (this.#isWaiting && this.#nAhead > 0 && this.#nReady >= this.#nEnough) this.#isWaiting = false;
    let n = 0;
    if (!this.#isWaiting) {
      n = this.#copy(out);
      if (n < out.length) this.#starve();
    }
    this.#gain = this.#nextGain;
    if (this.#isWaiting) {
      if (this.#nDropouts > 0 && !this.#isRendered) this.#nSilent += out.length - n;
      this.#nQuanta = (this.#nQuanta + 1) % QUANTA_PER_REPORT;
      if (this.#nQuanta === 0) this.port.postMessage(this.#report());
    }
    return true;
  }

  /** Samples that end a wait. */
  get #nEnough() {
    return this.#nDropouts > 0 && !this.#isRendered ? this.#nAhead / 2 : this.#nAhead;
  }

  /** Fill the output as far as samples are ready. @param {Float32Array} out @returns {number} samples */
  #copy(out) {
    let n = 0;
    while (n < out.length && this.#blocks.length > 0) {
      const { block, take } = this.#blocks[0];
      const nNow = Math.min(out.length - n, block.length - this.#offset);
      for (let index = 0; index < nNow; index++) {
        const gain = this.#gain + ((this.#nextGain - this.#gain) * (n + index)) / out.length;
        out[n + index] = block[this.#offset + index] *= gain;
      }
      n += nNow;
      this.#offset += nNow;
      if (this.#offset === block.length) {
        this.#blocks.shift();
        this.#offset = 0;
        this.#nReady -= block.length;
        this.#nPlayed += block.length;
        this.#ask();
        this.port.postMessage({ ...this.#report(), heard: block, take }, [block.buffer]);
      }
    }
    return n;
  }

  #starve() {
    this.#isWaiting = true;
    if (this.#isRendered) return;
    this.#nDropouts += 1;
    this.#nAhead = Math.max(this.#nAhead, Math.min(Math.round(this.#nAhead * GROWTH), MOST_S * sampleRate));
    this.#ask();
  }

  #ask() {
    this.#worker?.postMessage({ nPlayed: this.#nPlayed, nAhead: this.#nAhead });
  }

  #report() {
    return {
      nReady: this.#nReady - this.#offset,
      nAhead: this.#nAhead,
      isWaiting: this.#isWaiting,
      nDropouts: this.#nDropouts,
      nSilent: this.#nSilent,
    };
  }
}

registerProcessor("playback", Playback);
