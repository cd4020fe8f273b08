// @ts-check
/** A model of sound: what is heard and seen of it, and its controls, which are those of `wavegen play`. */

import { BAD_SEED, LabelChooser, Slider, commandLine, element, freshSeed, make, parseSeed, setText, twoDigits } from "./controls.js";
import { Spectrogram, marks } from "./spectrogram.js";
import { Tape, download } from "./tape.js";

/** @typedef {import("./engine.js").Ready} Ready */

const AHEAD_S = 0.2; // made ahead: how late a change is heard, and how long the machine may do something else
const MOST_AHEAD_S = 0.8; // before there were drop-outs
const WORK_AHEAD_S = 0.7; // so much over the speed is made ahead: a machine that is slow, or busy, needs more
const RENDERED_S = 10; // made first where it is slower than real time
const MANY = 3; // drop-outs
const RECENT_MS = 10_000;
const LEVEL_S = 0.1; // of sound to a measurement of its level
const FLOOR_DB = -70;
const MAX_GAIN = 4;

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
  /** @type {AudioContext | null} */ #context = null;
  /** @type {AudioWorkletNode | null} */ #node = null;
  /** @type {Spectrogram | null} */ #spectrogram = null;
  #isStarting = false;
  #isFrozen = false;
  #hasEnded = false;
  #factor = NaN;
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
  /** @type {LabelChooser[]} */ #labels = [];
  /** @type {Record<string, () => string>} */ #keys = {};

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
    this.#factor = ready.factor;
    this.#tape = new Tape(ready.description.sample_rate);
    worker.onmessage = ({ data }) => this.#told(data);
    this.#makeControls();
    this.#makeKeys();
    this.#makeMarks();
    this.#listen();
    this.#root.hidden = false;
    this.#note("");
    this.#showState();
    this.#showFacts(ready.factor, NaN);
    this.#showDelay(this.#ahead().nAhead);
    element("surprise-fact", HTMLElement).hidden = !ready.hasBits;
    element("dropouts", HTMLElement).textContent = "0";
    element("recorded", HTMLElement).textContent =
      "A take is what was heard since the last restart; the newest ten minutes are kept.";
    element("again", HTMLInputElement).checked = true;
    this.#send({ type: "again", beginsAgain: true });
    this.#send({ type: "restart", seed: this.#fresh() });
    this.#showSlow();
  }

  close() {
    this.#closing.abort();
    this.#spectrogram?.stop();
    this.#context?.close();
    this.#worker.terminate();
    this.#root.hidden = true;
    for (const part of PARTS) element(part, HTMLElement).replaceChildren();
  }

  get #rate() {
    return this.#ready.description.sample_rate;
  }

  get #isPlaying() {
    return this.#context?.state === "running";
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
      if (this.#context === null) await this.#open();
      else if (this.#isPlaying) await this.#context.suspend();
      else await this.#context.resume();
    } finally {
      this.#isStarting = false;
      this.#showState();
    }
  }

  async #open() {
    if (typeof AudioWorkletNode !== "function") {
      const isInsecure = !isSecureContext;
      this.#showFault(
        isInsecure
          ? "Browsers let a page play this way only from an https address, or from this machine (localhost)."
          : "This browser has no AudioWorklet, with which this page plays; a current Firefox, Chrome, Edge or Safari has.",
      );
      return;
    }
    let context;
    try {
      context = new AudioContext({ sampleRate: this.#rate, latencyHint: "balanced" });
    } catch {
      this.#showFault(`This browser cannot play ${this.#rate} samples per second, at which this model makes sound.`);
      return;
    }
    this.#context = context;
    context.onstatechange = () => this.#showState();
    const resumed = context.resume(); // now, while it is known that somebody asked for sound
    await context.audioWorklet.addModule(new URL("playback.js", import.meta.url));
    if (this.#closing.signal.aborted) return;
    const node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
    const analyser = context.createAnalyser();
    node.connect(analyser).connect(context.destination);
    node.port.onmessage = ({ data }) => this.#heard(data);
    const { port1, port2 } = new MessageChannel();
    this.#node = node;
    this.#send({ type: "play", port: port1 }, [port1]);
    node.port.postMessage({ worker: port2, gain: this.#sliders.gain.value, ...this.#ahead() }, [port2]);
    this.#spectrogram = new Spectrogram(analyser, element("spectrogram", HTMLCanvasElement));
    await resumed;
  }

  #ahead() {
    const made = Math.min(Math.max(WORK_AHEAD_S / this.#factor, AHEAD_S), MOST_AHEAD_S);
    return { nAhead: Math.round((this.#isRendered ? RENDERED_S : made) * this.#rate), isRendered: this.#isRendered };
  }

  /** Play sound that was made before, or again as it is made. @param {boolean} isRendered */
  #render(isRendered) {
    this.#isRendered = isRendered;
    this.#node?.port.postMessage(this.#ahead());
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
    this.#hasEnded = hasEnded;
  }

  /** @param {any} data a report of the audio thread, some with a block that was heard */
  #heard(data) {
    if (data.heard) {
      if (data.take !== this.#take) this.#tape.clear();
      this.#take = data.take;
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
    const device = this.#context === null ? 0 : this.#context.baseLatency + (this.#context.outputLatency || 0);
    setText("delay", `${(nAhead / this.#rate + device).toFixed(2)} s`);
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
    for (const [option, slider] of Object.entries(this.#sliders)) {
      const own = description.decoding[option] ?? 1;
      if (option !== "gain" && slider.value !== own) words.push(`--${option.replaceAll("_", "-")}`, `${slider.value}`);
    }
    setText("command", commandLine(words));
  }

  #showSlow() {
    this.#saidAt = performance.now();
    this.#dropouts = this.#dropouts.filter((at) => this.#saidAt - at < RECENT_MS);
    const isSlow = this.#factor < 1;
    const isBusy = this.#dropouts.length >= MANY;
    const panel = element("slow", HTMLElement);
    panel.hidden = !isSlow && !isBusy && !this.#isRendered;
    if (panel.hidden) return;
    const speed = `This device makes ${twoDigits(this.#factor)} times real time with this model`;
    if (this.#isRendered) setText("slow-text", `${RENDERED_S} s are made first and then played, so a change is heard late.`);
    else if (isSlow) setText("slow-text", `${speed}: too slow to play without gaps while it is made.`);
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
    const parent = element("sliders", HTMLElement);
    const { decoding } = description;
    const option = (/** @type {string} */ name) => (/** @type {number} */ value) => {
      const isOff = name === "top_p" && value === 1;
      this.#send({ type: "change", name, value: isOff ? null : value });
      this.#showCommand();
      this.#showSlow();
    };
    this.#sliders = {
      temperature: new Slider(parent, {
        name: "temperature", min: 0, max: 2, step: 0.05, value: decoding.temperature ?? 1, format: twoDigits,
        help: "1 as learnt; lower is safer, higher is wilder", change: option("temperature"),
      }), // prettier-ignore
    };
    if (hasFrames)
      this.#sliders.temperature_frames = new Slider(parent, {
        name: "temperature of frames", min: 0, max: 2, step: 0.05, value: decoding.temperature_frames ?? 1,
        format: twoDigits, help: "of the plan of what is said", change: option("temperature_frames"),
      }); // prettier-ignore
    if (description.has_top)
      this.#sliders.top_p = new Slider(parent, {
        name: "top-p", min: 0.05, max: 1, step: 0.05, value: decoding.top_p ?? 1, format: twoDigits,
        help: "keep the most probable values up to this probability; 1 keeps all", change: option("top_p"),
      }); // prettier-ignore
    if (description.can_be_guided)
      this.#sliders.guidance = new Slider(parent, {
        name: "guidance", min: 0, max: 5, step: 0.25, value: decoding.guidance ?? 1, format: (value) => `${value}`,
        help: "how strongly the labels steer; 1 is off and half the work", change: option("guidance"),
      }); // prettier-ignore
    this.#sliders.gain = new Slider(parent, {
      name: "gain", min: 0, max: MAX_GAIN, step: 0.01, value: 1, format: twoDigits, help: "1 as made",
      change: (gain) => this.#node?.port.postMessage({ gain }),
    }); // prettier-ignore
    for (const [name, values] of Object.entries(description.labels)) {
      const change = (/** @type {string | null} */ value) => {
        this.#send({ type: "label", name, value });
        this.#showCommand();
      };
      this.#labels.push(new LabelChooser(element("sound-labels", HTMLElement), name, values, labels[name], change));
    }
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
    addEventListener("keydown", (event) => this.#pressed(event), { signal });
  }

  #makeKeys() {
    const { temperature, temperature_frames: frames, top_p: topP, guidance, gain } = this.#sliders;
    const steps = (/** @type {Slider | undefined} */ slider, /** @type {number} */ by) =>
      slider === undefined ? undefined : () => slider.set(slider.value + by);
    /** @type {[string, string, Record<string, (() => string) | undefined>][]} */
    const keys = [
      ["space", "play or pause", { " ": () => (this.#play(), "") }],
      ["↑ ↓", "temperature", { ArrowUp: steps(temperature, 0.05), ArrowDown: steps(temperature, -0.05) }],
      ["T t", "temperature of frames", { T: steps(frames, 0.05), t: steps(frames, -0.05) }],
      ["P p", "top-p", { P: steps(topP, 0.05), p: steps(topP, -0.05) }],
      ["G g", "guidance", { G: steps(guidance, 0.25), g: steps(guidance, -0.25) }],
      ["+ −", "gain", { "+": () => gain.set(gain.value * 1.25), "=": () => gain.set(gain.value * 1.25), "-": () => gain.set(gain.value / 1.25) }],
      ...[["l L", "l", "L"], ["k K", "k", "K"]].slice(0, this.#labels.length).map(
        ([shown, next, previous], index) =>
          /** @type {[string, string, Record<string, () => string>]} */ ([
            shown,
            this.#labels[index].name,
            { [next]: () => this.#labels[index].step(1), [previous]: () => this.#labels[index].step(-1) },
          ]),
      ),
      ["r", "restart, new seed", { r: () => this.#restart(freshSeed()) }],
      ["f", "freeze", { f: () => this.#freeze() }],
      ["w", "save the take", { w: () => this.#save() }],
      ["q", "pause", { q: () => (this.#isPlaying && this.#play(), "paused") }],
    ]; // prettier-ignore
    const list = element("keys", HTMLElement);
    for (const [shown, what, actions] of keys) {
      const known = Object.entries(actions).filter(([, action]) => action !== undefined);
      if (known.length === 0) continue;
      list.append(make("div", {}, make("dt", {}, ...shown.split(" ").map((key) => make("kbd", {}, key))), make("dd", {}, what)));
      for (const [key, action] of known) this.#keys[key] = /** @type {() => string} */ (action);
    }
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const action = this.#keys[event.key];
    if (!action || !element("keys-on", HTMLInputElement).checked) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const isArrow = event.key.startsWith("Arrow");
    if (target.closest("select, textarea, input:not([type=range], [type=radio], [type=checkbox])")) return;
    if (isArrow && target.closest("input, pre")) return;
    if (event.key === " " && target.closest("button, a, summary, input")) return;
    event.preventDefault();
    this.#note(action());
  }
}

/** @param {number} seconds */
function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${`${whole % 60}`.padStart(2, "0")}`;
}
