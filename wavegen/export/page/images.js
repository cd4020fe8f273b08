// @ts-check
/** A model of images: a grid that fills while it is drawn, row by row, and a canvas whose drawing is completed. */

import {
  BAD_SEED,
  LabelChooser,
  decodingSliders,
  element,
  freshSeed,
  optionsOf,
  parseSeed,
  setText,
  showCommandLine,
} from "./controls.js";
import { Easel } from "./easel.js";
import { download } from "./tape.js";

/** @typedef {import("./engine.js").Ready} Ready */
/** @typedef {import("./worker.js").Job} Job */

const N = 16; // images of a grid
const COLUMNS = 4;
const GAP = 2; // pixels between images
const IN_TURN = "each in turn";
const PARTS = ["image-labels", "image-sliders", "rows-slider"]; // made anew for each model

export class ImageView {
  #worker;
  #ready;
  #name;
  #showFault;
  #closing = new AbortController();
  #root = element("images", HTMLElement);
  #grid = element("grid", HTMLCanvasElement);
  #context = /** @type {CanvasRenderingContext2D} */ (this.#grid.getContext("2d"));
  #seed = 0n;
  /** @type {Job[]} */ #jobs = [];
  #isDrawing = false;
  #drawing = 0; // counts them, for rows of an earlier one may still come
  #nRows = 0; // drawn so far
  #ms = 0; // which that took
  /** @type {Record<string, import("./controls.js").Slider>} */ #sliders = {};
  /** @type {LabelChooser[]} */ #labels = [];
  /** @type {Easel | null} */ #easel = null;

  /**
   * @param {Worker} worker
   * @param {Ready} ready
   * @param {string} name
   * @param {(sentence: string) => void} showFault
   */
  constructor(worker, ready, name, showFault) {
    this.#worker = worker;
    this.#ready = ready;
    this.#name = name;
    this.#showFault = showFault;
    worker.onmessage = ({ data }) => this.#told(data);
    this.#root.hidden = false;
    const [height, width] = ready.description.shape;
    this.#grid.width = COLUMNS * (width + GAP) - GAP;
    this.#grid.height = (N / COLUMNS) * (height + GAP) - GAP;
    this.#makeControls();
    element("image-surprise-fact", HTMLElement).hidden = !ready.hasBits;
    element("complete", HTMLElement).hidden = !ready.canGive;
    if (ready.canGive) this.#easel = new Easel(height, width, this.#closing.signal);
    this.#listen();
    this.#note("");
    this.#showSeed(freshSeed());
    for (const fact of ["image-speed", "image-seeds", "image-surprise"]) setText(fact, "–");
    element("save-images", HTMLButtonElement).disabled = true;
    this.#clear();
    this.#showState();
  }

  close() {
    this.#closing.abort();
    this.#worker.terminate();
    this.#root.hidden = true;
    for (const part of PARTS) element(part, HTMLElement).replaceChildren();
  }

  /** @param {string} sentence */
  #note(sentence) {
    setText("image-note", sentence);
  }

  // Drawing

  /** @param {bigint} seed @param {Float32Array | null} given what each image begins with: -1 is to be drawn */
  #draw(seed, given) {
    this.#showSeed(seed);
    this.#jobs = Array.from({ length: N }, (_, index) => ({
      seed,
      number: BigInt(index),
      labels: Object.fromEntries(
        this.#labels.map((label) => [label.name, this.#labelOf(label, index, given !== null)]),
      ),
    }));
    this.#nRows = this.#ms = 0;
    this.#isDrawing = true;
    this.#clear();
    if (given !== null) this.#showGiven(given);
    setText("image-seeds", `${seed}, images 0 to ${N - 1}`);
    this.#worker.postMessage({ type: "draw", drawing: ++this.#drawing, jobs: this.#jobs, given });
    element("save-images", HTMLButtonElement).disabled = false;
    this.#showState();
    this.#showProgress(0);
  }

  #stop() {
    this.#isDrawing = false;
    this.#worker.postMessage({ type: "stop" });
    this.#note("stopped");
    this.#showState();
  }

  /** @param {LabelChooser} label @param {number} index of the image @param {boolean} isCompletion */
  #labelOf(label, index, isCompletion) {
    if (label.value !== IN_TURN) return label.value;
    if (isCompletion) return null;
    const values = this.#ready.description.labels[label.name];
    return values[index % values.length];
  }

  /** @param {any} data a message from the worker */
  #told(data) {
    if (data.type === "fault") this.#showFault(data.sentence);
    if (!this.#isDrawing || data.drawing !== this.#drawing) return;
    if (data.type === "row") {
      this.#showRow(data.job, data.row, data.values);
      this.#nRows += 1;
      this.#ms += data.ms;
      const height = this.#ready.description.shape[0];
      if (data.row === height - 1) {
        setText("image-speed", `${(((this.#ms / this.#nRows) * height) / 1000).toFixed(2)} s per image`);
        this.#showProgress(data.job + 1);
      }
      if (Number.isFinite(data.bits)) setText("image-surprise", `${data.bits.toFixed(2)} bits per colour of a pixel`);
    } else if (data.type === "drawn") {
      this.#isDrawing = false;
      this.#showState();
    }
  }

  /** @param {number} nDrawn */
  #showProgress(nDrawn) {
    this.#note(nDrawn === N ? `${N} images drawn` : `Drawing image ${nDrawn + 1} of ${N}`);
    this.#grid.setAttribute("aria-label", `${N} images by ${this.#name}, ${nDrawn} of them drawn`);
  }

  #clear() {
    const [height, width] = this.#ready.description.shape;
    this.#context.clearRect(0, 0, this.#grid.width, this.#grid.height);
    this.#context.fillStyle = "#8885";
    for (let job = 0; job < N; job++) this.#context.fillRect(...this.#corner(job), width, height);
  }

  /** @param {number} job @returns {[number, number]} */
  #corner(job) {
    const [height, width] = this.#ready.description.shape;
    return [(job % COLUMNS) * (width + GAP), Math.floor(job / COLUMNS) * (height + GAP)];
  }

  /** @param {number} job @param {number} row @param {Float32Array} values */
  #showRow(job, row, values) {
    const [, width, nColours] = this.#ready.description.shape;
    const pixels = this.#context.createImageData(width, 1);
    for (let x = 0; x < width; x++)
      for (let colour = 0; colour < 4; colour++)
        pixels.data[4 * x + colour] =
          colour === 3 ? 255 : Math.round(255 * values[x * nColours + Math.min(colour, nColours - 1)]);
    const [left, top] = this.#corner(job);
    this.#context.putImageData(pixels, left, top + row);
  }

  /** @param {Float32Array} given */
  #showGiven(given) {
    const [height, width, nColours] = this.#ready.description.shape;
    const length = width * nColours;
    for (let row = 0; row < height; row++) {
      const values = given.subarray(row * length, (row + 1) * length);
      if (values[0] >= 0) for (let job = 0; job < N; job++) this.#showRow(job, row, values);
    }
  }

  // Controls

  #showState() {
    const button = element("draw", HTMLButtonElement);
    button.classList.toggle("is-playing", this.#isDrawing);
    /** @type {HTMLElement} */ (button.querySelector("span")).textContent = this.#isDrawing ? "Stop" : "Draw";
  }

  /** @param {bigint} seed */
  #showSeed(seed) {
    this.#seed = seed;
    element("image-seed", HTMLInputElement).value = `${seed}`;
    this.#showCommand();
  }

  #showCommand() {
    const { precision } = this.#ready.description;
    const words = [
      "wavegen",
      "image",
      "sample",
      this.#name,
      "--n",
      "1",
      "--seed",
      `${this.#seed}`,
      "--precision",
      precision,
    ];
    for (const label of this.#labels) {
      const value = this.#labelOf(label, 0, false);
      if (value !== null) words.push("--label", `${label.name}=${value}`);
    }
    words.push(...optionsOf(this.#sliders, this.#ready.description));
    showCommandLine("image-command", words);
  }

  #makeControls() {
    const { description } = this.#ready;
    const change = (/** @type {string} */ name, /** @type {number | null} */ value) => {
      this.#worker.postMessage({ type: "change", name, value });
      this.#showCommand();
    };
    this.#sliders = decodingSliders(element("image-sliders", HTMLElement), description, false, change);
    const labels = Object.entries(description.labels);
    const more = labels.length === 1 ? [IN_TURN] : [];
    for (const [name, values] of labels) {
      const first = more[0] ?? values[0];
      const change = () => this.#showCommand();
      this.#labels.push(new LabelChooser(element("image-labels", HTMLElement), name, values, first, change, more));
    }
  }

  #listen() {
    const { signal } = this.#closing;
    const on = (/** @type {string} */ id, /** @type {() => void} */ action) =>
      element(id, HTMLElement).addEventListener("click", action, { signal });
    on("draw", () => (this.#isDrawing ? this.#stop() : this.#draw(freshSeed(), null)));
    on("save-images", () => this.#save());
    on("complete-draw", () => this.#complete());
    element("image-seed-form", HTMLFormElement).addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        const seed = parseSeed(element("image-seed", HTMLInputElement).value);
        if (seed === null) this.#note(BAD_SEED);
        else this.#draw(seed, null);
      },
      { signal },
    );
  }

  #complete() {
    if (this.#easel === null) return;
    const nColours = this.#ready.description.shape[2];
    const given = this.#easel.given();
    const colours = Float32Array.from(
      { length: given.length * nColours },
      (_, index) => given[Math.floor(index / nColours)],
    );
    this.#draw(freshSeed(), colours);
    this.#grid.scrollIntoView({ block: "nearest" });
  }

  #save() {
    this.#grid.toBlob((blob) => {
      if (blob !== null) download(blob, `${this.#name}-${this.#seed}.png`);
    });
  }
}
