// @ts-check
/** A model of sound: what is heard and seen of it, and its controls, which are those of `wavegen play`. */

import {
  BAD_SEED,
  LabelChooser,
  Slider,
  decodingSliders,
  element,
  freshSeed,
  make,
  optionsOf,
  parseSeed,
  setText,
  showCommandLine,
  twoDigits,
} from "./controls.js";
import { Fault } from "./engine.js";
import { listenForKeys } from "./keys.js";
import { Output } from "./output.js";
import { Spectrogram, marks } from "./spectrogram.js";
import { Tape, download } from "./tape.js";

/** @typedef {import("./engine.js").Ready} Ready */

const AHEAD_S = 0.2; // made ahead: how late a change is heard, and how long the machine may do something else
const MOST_AHEAD_S = 0.8; // before there were drop-outs
const WORK_AHEAD_S = 0.7; // so much over the speed is made ahead: a machine that is slow, or busy, needs more
const RENDERED_S = 10; // made first where it is slower than real time
const MANY = 3; // drop-outs
const RECENT_MS = 10_000;
const SMOOTHING = 0.3; // of the speed, each time it is looked at
const FAST_ENOUGH = 1.15; // for what seemed too slow
const LEVEL_S = 0.1; // of sound to a measurement of its level
const FLOOR_DB = -70;
const MAX_GAIN = 4;
const LABEL_KEYS = [
  ["l", "L"],
  ["k", "K"],
]; // next and previous value of the first label, and of the second

/** Where its parts go, which are made anew for each model. */
const PARTS = ["sound-labels", "sliders", "keys", "marks"];

export class SoundView {
  #worker;
  #ready;
  #name;
  #showFault;
  #smaller;
  #closing = new AbortController(); // ends what listens to the page
  #root = element("sound", HTMLElement);
  /** @type {Output | null} */ #output = null;
  /** @type {Spectrogram | null} */ #spectrogram = null;
  #isStarting = false;
  #isFrozen = false;
  #hasEnded = false;
  #factor = NaN;
  #speed; // that, over some seconds
  #isSlow;
  #nDropouts = 0;
  /** @type {number[]} */ #dropouts = []; // when they were, ms
  #saidAt = 0; // when it was last looked whether this is too slow, ms
  #isRendered = false;
  #take = 0;
  #seed = 0n;
  #power = { sum: 0, n: 0 };
  /** @type {Tape} */ #tape;
  /** @type {Tape | null} */ #recording = null;
  /** @type {Record<string, Slider>} */ #sliders = {};
  #gain;
  /** @type {LabelChooser[]} */ #labels = [];

  /**
   * @param {Worker} worker
   * @param {Ready} ready
   * @param {string} name
   * @param {(sentence: string) => void} showFault
   * @param {string | null} smaller a model that is less work
   */
  constructor(worker, ready, name, showFault, smaller) {
    this.#worker = worker;
    this.#ready = ready;
    this.#name = name;
    this.#showFault = showFault;
    this.#smaller = smaller;
    this.#factor = this.#speed = ready.factor;
    this.#isSlow = ready.factor < 1;
    this.#tape = new Tape(ready.description.sample_rate);
    worker.onmessage = ({ data }) => this.#told(data);
    this.#makeControls();
    this.#gain = this.#makeGain();
    this.#makeKeys();
    this.#makeMarks();
    this.#listen();
    this.#root.hidden = false;
    this.#note("");
    this.#showState();
    this.#showFacts(ready.factor, NaN);
    this.#showDelay(this.#ahead().nAhead);
    element("surprise-fact", HTMLElement).hidden = !ready.hasBits;
    setText("dropouts", "0");
    element("again", HTMLInputElement).checked = true;
    element("freeze", HTMLElement).setAttribute("aria-pressed", "false");
    element("record", HTMLElement).setAttribute("aria-pressed", "false");
    setText("record", "Record");
    element("save", HTMLButtonElement).disabled = true;
    setText("save", "Save the take (WAV)");
    this.#send({ type: "again", beginsAgain: true });
    this.#send({ type: "restart", seed: this.#fresh() });
    this.#showSlow();
  }

  close() {
    this.#closing.abort();
    this.#spectrogram?.stop();
    this.#output?.close();
    this.#worker.terminate();
    this.#root.hidden = true;
    for (const part of PARTS) element(part, HTMLElement).replaceChildren();
  }

  get #rate() {
    return this.#ready.description.sample_rate;
  }

  get #isPlaying() {
    return this.#output?.isPlaying ?? false;
  }

  /** @param {object} message @param {Transferable[]} [transfer] */
  #send(message, transfer = []) {
    this.#worker.postMessage(message, transfer);
  }

  /** @param {string} sentence */
  #note(sentence) {
    setText("note", sentence);
  }

  // Playing

  async #play() {
    if (this.#isStarting) return;
    this.#isStarting = true;
    try {
      if (this.#output !== null) await this.#output.toggle();
      else await this.#open();
      this.#showState();
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#showFault(error.message);
    } finally {
      this.#isStarting = false;
    }
  }

  async #open() {
    this.#output = new Output(this.#rate, () => this.#showState());
    const { port1, port2 } = new MessageChannel();
    this.#send({ type: "play", port: port1 }, [port1]);
    this.#spectrogram = new Spectrogram(this.#output.analyser, element("spectrogram", HTMLCanvasElement));
    const settings = { gain: this.#gain.value, ...this.#ahead() };
    await this.#output.open(port2, settings, (report) => this.#heard(report));
  }

  #ahead() {
    const made = Math.min(Math.max(WORK_AHEAD_S / (this.#factor || 1), AHEAD_S), MOST_AHEAD_S);
    return { nAhead: Math.round((this.#isRendered ? RENDERED_S : made) * this.#rate), isRendered: this.#isRendered };
  }

  /** Play sound that was made before, or again as it is made. @param {boolean} isRendered */
  #render(isRendered) {
    this.#isRendered = isRendered;
    this.#output?.set(this.#ahead());
    this.#showSlow();
    if (!this.#isPlaying) this.#play();
  }

  #showState() {
    const button = element("play", HTMLButtonElement);
    const isPlaying = this.#isPlaying;
    button.classList.toggle("is-playing", isPlaying);
    const text = isPlaying ? "Pause" : "Play";
    /** @type {HTMLElement} */ (button.querySelector("span")).textContent = text;
    if (isPlaying) this.#spectrogram?.start();
    else this.#spectrogram?.stop();
    if (!isPlaying) this.#showLevel(0);
  }

  // What comes from the threads

  /** @param {any} data a message from the worker */
  #told(data) {
    if (data.type === "fault") this.#showFault(data.sentence);
    if (data.type !== "status") return;
    if (data.seed !== this.#seed) this.#showSeed(data.seed);
    this.#factor = data.factor;
    this.#showFacts(data.factor, data.bits);
    if (performance.now() - this.#saidAt > 1000) this.#showSlow();
    const hasEnded = data.hasEnded && !element("again", HTMLInputElement).checked;
    if (hasEnded && !this.#hasEnded) this.#note("The sound has ended; another label or Restart begins a new one.");
    else if (!hasEnded && this.#hasEnded) this.#note("");
    this.#hasEnded = hasEnded;
  }

  /** @param {import("./output.js").Report} data */
  #heard(data) {
    if (data.heard) {
      if (data.take !== this.#take) this.#tape.clear();
      this.#take = data.take ?? 0;
      this.#tape.add(data.heard);
      this.#recording?.add(data.heard);
      this.#measure(data.heard);
    }
    this.#showDelay(data.nAhead);
    if (data.nDropouts !== this.#nDropouts) {
      this.#nDropouts = data.nDropouts;
      this.#dropouts.push(performance.now());
      this.#showSlow();
    }
    const silent = data.nSilent ? ` (${(data.nSilent / this.#rate).toFixed(2)} s of silence)` : "";
    setText("dropouts", `${data.nDropouts}${silent}`);
    const save = element("save", HTMLButtonElement);
    save.disabled = this.#tape.length === 0;
    setText("save", `Save the take, ${clock(this.#tape.seconds)} (WAV)`);
    if (this.#recording) setText("record", `Stop, ${clock(this.#recording.seconds)} recorded`);
    if (data.isWaiting && this.#isRendered)
      this.#note(`Making ${RENDERED_S} s: ${Math.floor((100 * data.nReady) / data.nAhead)}%`);
    else if (this.#isRendered) this.#note(`Playing; ${(data.nReady / this.#rate).toFixed(1)} s are made ahead`);
  }

  // What is shown

  /** @param {Float32Array} block */
  #measure(block) {
    for (const sample of block) this.#power.sum += sample * sample;
    this.#power.n += block.length;
    if (this.#power.n < LEVEL_S * this.#rate) return;
    this.#showLevel(this.#power.sum / this.#power.n);
    this.#power = { sum: 0, n: 0 };
  }

  /** @param {number} power mean square */
  #showLevel(power) {
    const db = 10 * Math.log10(Math.max(power, 1e-7));
    const meter = element("level", HTMLElement);
    meter.setAttribute("aria-valuenow", db.toFixed(0));
    meter.setAttribute("aria-valuetext", `${db.toFixed(0)} dBFS`);
    /** @type {HTMLElement} */ (meter.firstElementChild).style.transform = `scaleX(${Math.max(0, 1 - db / FLOOR_DB)})`;
    setText("level-text", `${db.toFixed(1).replace("-", "−")} dBFS`);
  }

  /** @param {number} factor @param {number} bits */
  #showFacts(factor, bits) {
    setText("factor", factor > 0 ? `${factor.toFixed(1)} × real time` : "–");
    setText("surprise", Number.isFinite(bits) ? `${bits.toFixed(2)} bits/sample` : "–");
  }

  /** @param {number} nAhead samples */
  #showDelay(nAhead) {
    setText("delay", `${(nAhead / this.#rate + (this.#output?.latency ?? 0)).toFixed(2)} s`);
  }

  /** @param {bigint} seed */
  #showSeed(seed) {
    this.#seed = seed;
    const input = element("seed", HTMLInputElement);
    if (document.activeElement !== input) input.value = `${seed}`;
    this.#showCommand();
  }

  #showCommand() {
    const { description } = this.#ready;
    const words = ["wavegen", "generate", this.#name, "--seed", `${this.#seed}`, "--precision", description.precision];
    for (const { name, value } of this.#labels) if (value !== null) words.push("--label", `${name}=${value}`);
    words.push(...optionsOf(this.#sliders, description));
    showCommandLine("command", words);
  }

  #showSlow() {
    this.#saidAt = performance.now();
    this.#dropouts = this.#dropouts.filter((at) => this.#saidAt - at < RECENT_MS);
    this.#speed += SMOOTHING * (this.#factor - this.#speed);
    this.#isSlow = this.#speed < (this.#isSlow ? FAST_ENOUGH : 1);
    const isSlow = this.#isSlow;
    const isBusy = this.#dropouts.length >= MANY;
    const panel = element("slow", HTMLElement);
    panel.hidden = !isSlow && !isBusy && !this.#isRendered;
    if (panel.hidden) return;
    const speed = `This device makes ${twoDigits(this.#speed)} times real time with this model`;
    if (this.#isRendered)
      setText("slow-text", `${RENDERED_S} s are made first and then played, so a change is heard late.`);
    else if (isSlow)
      setText(
        "slow-text",
        `${speed}: ${this.#speed < 1 ? "too slow" : "hardly enough"} to play without gaps while it is made.`,
      );
    else setText("slow-text", "This device is busy with other things as well, and there are gaps in the sound.");
    setText("render", this.#isRendered ? "Play as it is made" : `Make ${RENDERED_S} s first, then play`);
    element("unguided", HTMLElement).hidden = !this.#sliders.guidance || this.#sliders.guidance.value === 1;
    const link = element("smaller", HTMLAnchorElement);
    link.hidden = this.#smaller === null;
    link.textContent = `A smaller model: ${this.#smaller}`;
    link.href = `#${encodeURIComponent(this.#smaller ?? "")}`;
  }

  #makeMarks() {
    const parent = element("marks", HTMLElement);
    for (const { hz, share } of marks(this.#rate)) {
      const mark = make("span", {}, hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`);
      mark.style.bottom = `${100 * share}%`;
      parent.append(mark);
    }
  }

  // Controls

  #makeControls() {
    const { description, labels, hasFrames } = this.#ready;
    this.#sliders = decodingSliders(element("sliders", HTMLElement), description, hasFrames, (name, value) => {
      this.#send({ type: "change", name, value });
      this.#showCommand();
    });
    for (const [name, values] of Object.entries(description.labels)) {
      const change = (/** @type {string | null} */ value) => {
        this.#send({ type: "label", name, value });
        this.#showCommand();
      };
      this.#labels.push(new LabelChooser(element("sound-labels", HTMLElement), name, values, labels[name], change));
    }
  }

  #makeGain() {
    return new Slider(element("sliders", HTMLElement), {
      ...{ name: "gain", min: 0, max: MAX_GAIN, step: 0.01, value: 1, format: twoDigits, help: "1 as made" },
      change: (gain) => this.#output?.set({ gain }),
    });
  }

  #fresh() {
    const seed = freshSeed();
    this.#showSeed(seed);
    return seed;
  }

  /** @param {bigint} seed */
  #restart(seed) {
    this.#send({ type: "restart", seed });
    this.#setFrozen(false);
    this.#showSeed(seed);
    return `restarted, seed ${seed}`;
  }

  /** @param {boolean} isFrozen */
  #setFrozen(isFrozen) {
    this.#isFrozen = isFrozen;
    element("freeze", HTMLElement).setAttribute("aria-pressed", `${isFrozen}`);
  }

  #freeze() {
    this.#setFrozen(!this.#isFrozen);
    this.#send({ type: "freeze", isFrozen: this.#isFrozen });
    return this.#isFrozen ? "frozen: the newest half second repeats" : "unfrozen";
  }

  #save() {
    if (this.#tape.length === 0) return "nothing was heard yet";
    const name = `${this.#name}-${this.#seed}.wav`;
    download(this.#tape.wav(), name);
    return `saved ${name}`;
  }

  #record() {
    const button = element("record", HTMLElement);
    const recording = this.#recording;
    button.setAttribute("aria-pressed", `${recording === null}`);
    if (recording === null) {
      this.#recording = new Tape(this.#rate);
      button.textContent = "Stop, 0:00 recorded";
      return "recording what is heard";
    }
    this.#recording = null;
    button.textContent = "Record";
    if (recording.length === 0) return "nothing was heard meanwhile";
    const name = `${this.#name}-recording.wav`;
    download(recording.wav(), name);
    return `saved ${name}, ${clock(recording.seconds)}`;
  }

  #listen() {
    const { signal } = this.#closing;
    const on = (/** @type {string} */ id, /** @type {() => string | void} */ action) =>
      element(id, HTMLElement).addEventListener("click", () => this.#note(action() ?? ""), { signal });
    on("play", () => void this.#play());
    on("restart", () => this.#restart(freshSeed()));
    on("freeze", () => this.#freeze());
    on("record", () => this.#record());
    on("save", () => this.#save());
    on("render", () => this.#render(!this.#isRendered));
    on("unguided", () => this.#sliders.guidance.set(1));
    element("again", HTMLInputElement).addEventListener(
      "change",
      () => this.#send({ type: "again", beginsAgain: element("again", HTMLInputElement).checked }),
      { signal },
    );
    element("seed-form", HTMLFormElement).addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        const seed = parseSeed(element("seed", HTMLInputElement).value);
        this.#note(seed === null ? BAD_SEED : this.#restart(seed));
      },
      { signal },
    );
  }

  #makeKeys() {
    const { temperature, temperature_frames: frames, top_p: topP, guidance } = this.#sliders;
    const gain = this.#gain;
    /** @type {import("./keys.js").Row[]} */ const rows = [];
    const row = (
      /** @type {string} */ shown,
      /** @type {string} */ what,
      /** @type {Record<string, () => string>} */ actions,
    ) => rows.push({ shown, what, actions });
    const steps = (
      /** @type {string[]} */ [up, down],
      /** @type {string} */ what,
      /** @type {Slider | undefined} */ slider,
      /** @type {number} */ by,
      shown = `${up} ${down}`,
    ) => {
      if (slider)
        row(shown, what, { [up]: () => slider.set(slider.value + by), [down]: () => slider.set(slider.value - by) });
    };
    row("space", "play or pause", { " ": () => (this.#play(), "") });
    steps(["ArrowUp", "ArrowDown"], "temperature", temperature, 0.05, "↑ ↓");
    steps(["T", "t"], "temperature of frames", frames, 0.05);
    steps(["P", "p"], "top-p", topP, 0.05);
    steps(["G", "g"], "guidance", guidance, 0.25);
    const louder = () => gain.set(gain.value * 1.25);
    row("+ −", "gain", { "+": louder, "=": louder, "-": () => gain.set(gain.value / 1.25) });
    for (const [index, label] of this.#labels.slice(0, LABEL_KEYS.length).entries()) {
      const [next, previous] = LABEL_KEYS[index];
      row(`${next} ${previous}`, label.name, { [next]: () => label.step(1), [previous]: () => label.step(-1) });
    }
    row("r", "restart, new seed", { r: () => this.#restart(freshSeed()) });
    row("f", "freeze", { f: () => this.#freeze() });
    row("w", "save the take", { w: () => this.#save() });
    row("q", "pause", { q: () => (this.#isPlaying && this.#play(), "paused") });
    listenForKeys(rows, (sentence) => this.#note(sentence), this.#closing.signal);
  }
}

/** @param {number} seconds */
function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${`${whole % 60}`.padStart(2, "0")}`;
}
