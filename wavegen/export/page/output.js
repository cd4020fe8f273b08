// @ts-check
/** What a page plays through: an AudioContext at a model's sample rate, and in it the audio thread's playback.js. */

import { Fault } from "./engine.js";

/**
 * @typedef {object} Report what the audio thread tells, often
 * @property {number} nReady samples that are made and not played yet
 * @property {number} nAhead samples that it wants made ahead
 * @property {boolean} isWaiting whether it waits for those
 * @property {number} nDropouts
 * @property {number} nSilent samples of silence in drop-outs
 * @property {Float32Array} [heard] a block that was just played, as it was heard
 * @property {number} [take] which beginning the block belongs to
 */

export class Output {
  #context;
  /** @type {AudioWorkletNode | null} */ #node = null;
  /** Of what is heard. */
  analyser;

  /**
   * To be called when somebody asks for sound: browsers refuse it otherwise.
   * @param {number} sampleRate Hz
   * @param {() => void} changed called when it begins or ends to play
   * @throws {Fault} if this browser cannot play so
   */
  constructor(sampleRate, changed) {
    if (typeof AudioWorkletNode !== "function")
      throw new Fault(
        isSecureContext
          ? "This browser has no AudioWorklet, through which this page plays; a current one will do."
          : "Browsers let a page play this way only from an https address, or from this machine (localhost).",
      );
    try {
      this.#context = new AudioContext({ sampleRate, latencyHint: "balanced" });
    } catch {
      throw new Fault(`This browser cannot play ${sampleRate} samples per second, at which this model makes sound.`);
    }
    this.#context.onstatechange = changed;
    this.analyser = this.#context.createAnalyser();
  }

  get isPlaying() {
    return this.#context.state === "running";
  }

  /** What the device needs to play what it is given, s, as far as the browser tells. */
  get latency() {
    return this.#context.baseLatency + (this.#context.outputLatency || 0);
  }

  /**
   * @param {MessagePort} worker where blocks come from
   * @param {object} settings as for `set`
   * @param {(report: Report) => void} report
   */
  async open(worker, settings, report) {
    const resumed = this.#context.resume(); // now, for somebody has just asked for it
    await this.#context.audioWorklet.addModule(new URL("playback.js", import.meta.url));
    if (this.#context.state === "closed") return;
    const node = new AudioWorkletNode(this.#context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
    node.port.onmessage = ({ data }) => report(data);
    node.port.postMessage({ worker, ...settings }, [worker]);
    node.connect(this.analyser).connect(this.#context.destination);
    this.#node = node;
    await resumed;
  }

  /** @param {{gain?: number, nAhead?: number, isRendered?: boolean}} settings */
  set(settings) {
    this.#node?.port.postMessage(settings);
  }

  toggle() {
    return this.isPlaying ? this.#context.suspend() : this.#context.resume();
  }

  close() {
    this.#context.onstatechange = null;
    if (this.#context.state !== "closed") this.#context.close();
  }
}
