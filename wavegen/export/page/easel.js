// @ts-check
/** A canvas as large as an image of a model, to draw on with a finger, a mouse or keys. */

import { Slider, element } from "./controls.js";

const REACH = 1.1; // pixels that a pen is wide to each side, and as much again where it fades

export class Easel {
  #canvas = element("easel", HTMLCanvasElement);
  #context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
  #height;
  #width;
  #values; // from 0, black, to 1
  #rows;
  #isErasing = false;
  #cursor;
  /** @type {[number, number] | null} */ #last = null; // where the pen was

  /** @param {number} height @param {number} width @param {AbortSignal} signal ends it */
  constructor(height, width, signal) {
    this.#height = height;
    this.#width = width;
    this.#canvas.height = height;
    this.#canvas.width = width;
    this.#values = new Float32Array(height * width);
    this.#cursor = { x: width >> 1, y: height >> 2 };
    this.#rows = new Slider(element("rows-slider", HTMLElement), {
      name: "rows that stay",
      min: 1,
      max: height - 1,
      step: 1,
      value: height >> 1,
      format: (value) => `${value} of ${height}`,
      help: "those above the line",
      change: () => this.#show(),
    });
    const on = (
      /** @type {HTMLElement} */ target,
      /** @type {string} */ type,
      /** @type {(event: any) => void} */ action,
    ) => target.addEventListener(type, action, { signal });
    on(this.#canvas, "pointerdown", (event) => this.#begin(event));
    on(this.#canvas, "pointermove", (event) => this.#last !== null && this.#move(event));
    for (const type of ["pointerup", "pointercancel"]) on(this.#canvas, type, () => (this.#last = null));
    for (const type of ["focus", "blur"]) on(this.#canvas, type, () => this.#show());
    on(this.#canvas, "keydown", (event) => this.#pressed(event));
    on(element("clear", HTMLElement), "click", () => {
      this.#values.fill(0);
      this.#show();
    });
    on(element("eraser", HTMLElement), "click", () => this.#erase(!this.#isErasing));
    this.#erase(false);
    this.#show();
  }

  /** What was drawn, above the line; below it -1, which is to be drawn by a model. @returns {Float32Array} */
  given() {
    return this.#values.map((value, index) => (index < this.#rows.value * this.#width ? value : -1));
  }

  /** @param {boolean} isErasing */
  #erase(isErasing) {
    this.#isErasing = isErasing;
    element("eraser", HTMLElement).setAttribute("aria-pressed", `${isErasing}`);
  }

  /** @param {PointerEvent} event @returns {[number, number]} in pixels of the image */
  #at(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.#width,
      ((event.clientY - box.top) / box.height) * this.#height,
    ];
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#last = this.#at(event);
    this.#stamp(...this.#last);
    this.#show();
  }

  /** @param {PointerEvent} event */
  #move(event) {
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      const [x, y] = this.#at(one);
      const [fromX, fromY] = /** @type {[number, number]} */ (this.#last);
      const n = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY) * 2));
      for (let step = 1; step <= n; step++)
        this.#stamp(fromX + ((x - fromX) * step) / n, fromY + ((y - fromY) * step) / n);
      this.#last = [x, y];
    }
    this.#show();
  }

  /** Let the pen, or the eraser, touch a place. @param {number} x @param {number} y */
  #stamp(x, y) {
    const most = Math.ceil(2 * REACH);
    for (let row = Math.max(0, Math.floor(y) - most); row <= Math.min(this.#height - 1, Math.floor(y) + most); row++)
      for (
        let column = Math.max(0, Math.floor(x) - most);
        column <= Math.min(this.#width - 1, Math.floor(x) + most);
        column++
      ) {
        const ink = Math.min(Math.max((2 * REACH - Math.hypot(column + 0.5 - x, row + 0.5 - y)) / REACH, 0), 1);
        const index = row * this.#width + column;
        this.#values[index] = this.#isErasing
          ? Math.min(this.#values[index], 1 - ink)
          : Math.max(this.#values[index], ink);
      }
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (step === undefined && event.key !== " ") return;
    event.preventDefault();
    if (step === undefined) this.#stamp(this.#cursor.x + 0.5, this.#cursor.y + 0.5);
    else {
      this.#cursor.x = Math.min(Math.max(this.#cursor.x + step[0], 0), this.#width - 1);
      this.#cursor.y = Math.min(Math.max(this.#cursor.y + step[1], 0), this.#height - 1);
    }
    this.#show();
  }

  #show() {
    const pixels = this.#context.createImageData(this.#width, this.#height);
    this.#values.forEach((value, index) => {
      const isGiven = index < this.#rows.value * this.#width;
      pixels.data.set([255 * value, 255 * value, 255 * value, isGiven ? 255 : 120].map(Math.round), 4 * index);
    });
    this.#context.putImageData(pixels, 0, 0);
    element("easel-line", HTMLElement).style.top = `${(100 * this.#rows.value) / this.#height}%`;
    if (document.activeElement === this.#canvas && this.#canvas.matches(":focus-visible")) {
      this.#context.fillStyle = "#e0a020";
      this.#context.fillRect(this.#cursor.x, this.#cursor.y, 1, 1);
    }
  }
}
