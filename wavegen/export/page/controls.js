// @ts-check
/** Sliders, choosers of labels and other parts that the views of sound and of images share. */

const MOST_CHIPS = 12; // values of a label that are shown side by side; more are a list

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} the element of the page */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} ${id}`);
  return found;
}

/** @param {string} tag @param {Record<string, string>} [attributes] @param {(Node | string)[]} children */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A number that is changed by dragging, or by keys. */
export class Slider {
  #input;
  #output;
  #options;

  /**
   * @param {HTMLElement} parent
   * @param {{name: string, min: number, max: number, step: number, value: number, help: string,
   *   format: (value: number) => string, change: (value: number) => void}} options
   */
  constructor(parent, options) {
    const { name, min, max, step, help } = options;
    const id = `slider-${name.replaceAll(" ", "-")}`;
    this.#options = options;
    this.#output = make("output", { for: id });
    this.#input = /** @type {HTMLInputElement} */ (
      make("input", {
        id,
        type: "range",
        min: `${min}`,
        max: `${max}`,
        step: `${step}`,
        "aria-describedby": `${id}-help`,
      })
    );
    this.#input.addEventListener("input", () => this.#changed());
    parent.append(
      make(
        "div",
        { class: "slider" },
        make("label", { for: id }, name),
        this.#output,
        this.#input,
        make("p", { id: `${id}-help`, class: "help" }, help),
      ),
    );
    this.show(options.value);
  }

  get value() {
    return this.#input.valueAsNumber;
  }

  /** Change it, as if it was dragged. @param {number} value @returns {string} a sentence on what it is now */
  set(value) {
    this.#input.valueAsNumber = value; // which keeps it in its range
    this.#changed();
    return `${this.#options.name} ${this.#output.textContent}`;
  }

  /** Show a value that was changed elsewhere. @param {number} value */
  show(value) {
    this.#input.valueAsNumber = value;
    this.#output.textContent = this.#options.format(this.value);
    this.#input.setAttribute("aria-valuetext", this.#options.format(this.value));
  }

  #changed() {
    this.show(this.value);
    this.#options.change(this.value);
  }
}

/**
 * Sliders for what a model draws with, by the names of its options.
 * @param {HTMLElement} parent
 * @param {import("./player.js").Description} description
 * @param {boolean} hasFrames whether it has a temperature of frames
 * @param {(name: string, value: number | null) => void} change null switches a filter off
 * @returns {Record<string, Slider>}
 */
export function decodingSliders(parent, description, hasFrames, change) {
  const { decoding } = description;
  const temperature = { min: 0, max: 2, step: 0.05, format: twoDigits };
  /** @type {Record<string, Slider>} */ const sliders = {};
  const add = (/** @type {string} */ option, /** @type {any} */ settings) => {
    const changed = (/** @type {number} */ value) => change(option, option === "top_p" && value === 1 ? null : value);
    sliders[option] = new Slider(parent, { value: decoding[option] ?? 1, change: changed, ...settings });
  };
  add("temperature", {
    name: "temperature",
    ...temperature,
    help: "1 as learnt; lower is safer, 0 takes the most probable",
  });
  if (hasFrames)
    add("temperature_frames", {
      name: "temperature of frames",
      ...temperature,
      help: "of what plans the sound; 1 as learnt",
    });
  if (description.has_top)
    add("top_p", {
      name: "top-p",
      ...{ min: 0.05, max: 1, step: 0.05, format: twoDigits },
      help: "keep the most probable values up to this probability; 1 keeps all",
    });
  if (description.can_be_guided)
    add("guidance", {
      name: "guidance",
      ...{ min: 0, max: 5, step: 0.25, format: String },
      help: "guidance scale of the labels; 1 is off, and half the work",
    });
  return sliders;
}

/**
 * The options of a command line that sets sliders as they are.
 * @param {Record<string, Slider>} sliders @param {import("./player.js").Description} description
 */
export function optionsOf(sliders, description) {
  return Object.entries(sliders).flatMap(([option, { value }]) =>
    value === (description.decoding[option] ?? 1) ? [] : [`--${option.replaceAll("_", "-")}`, `${value}`],
  );
}

/** The values of a label, and "unknown", of which one is chosen. */
export class LabelChooser {
  /** @type {(string | null)[]} */ #every;
  /** @type {(index: number) => void} */ #show;
  #index = 0;
  #change;

  /**
   * @param {HTMLElement} parent
   * @param {string} name
   * @param {string[]} values
   * @param {string | null} value
   * @param {(value: string | null) => void} change
   * @param {string[]} more what may be chosen beside values, shown after them
   */
  constructor(parent, name, values, value, change, more = []) {
    this.name = name;
    this.#every = [...values, ...more, null];
    this.#change = change;
    const titles = this.#every.map((one) => (one === null ? "unknown" : one.replaceAll(/[-_]/g, " ")));
    const isShort = titles.length <= MOST_CHIPS && titles.join("").length < 120;
    this.#show = isShort ? this.#chips(parent, titles) : this.#list(parent, titles);
    this.#index = this.#every.indexOf(value);
    this.#show(this.#index);
  }

  get value() {
    return this.#every[this.#index];
  }

  /** Choose the next value, or the one before. @param {number} by @returns {string} a sentence on what it is now */
  step(by) {
    this.#choose((this.#index + by + this.#every.length) % this.#every.length);
    this.#show(this.#index);
    return `${this.name} ${this.value ?? "unknown"}`;
  }

  /** @param {number} index */
  #choose(index) {
    this.#index = index;
    this.#change(this.value);
  }

  /** @param {HTMLElement} parent @param {string[]} titles */
  #chips(parent, titles) {
    const inputs = titles.map((_, index) => {
      const input = /** @type {HTMLInputElement} */ (make("input", { type: "radio", name: `label-${this.name}` }));
      input.addEventListener("change", () => this.#choose(index));
      return input;
    });
    const chips = inputs.map((input, index) =>
      make("label", { class: "chip" }, input, make("span", {}, titles[index])),
    );
    parent.append(make("fieldset", {}, make("legend", {}, this.name), make("div", { class: "chips" }, ...chips)));
    return (/** @type {number} */ index) => void (inputs[index].checked = true);
  }

  /** @param {HTMLElement} parent @param {string[]} titles */
  #list(parent, titles) {
    const id = `label-${this.name}`;
    const select = /** @type {HTMLSelectElement} */ (
      make("select", { id }, ...titles.map((title) => make("option", {}, title)))
    );
    select.addEventListener("change", () => this.#choose(select.selectedIndex));
    parent.append(make("div", { class: "row" }, make("label", { for: id }, this.name), select));
    return (/** @type {number} */ index) => void (select.selectedIndex = index);
  }
}

/**
 * Change what is written, if it changes: what did not is not to be read out again.
 * @param {string} id @param {string} text
 */
export function setText(id, text) {
  const shown = element(id, HTMLElement);
  if (shown.textContent !== text) shown.textContent = text;
}

/** @returns {bigint} a seed that nobody has chosen */
export function freshSeed() {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0]);
}

/** @param {string} text @returns {bigint | null} the seed, if it is one */
export function parseSeed(text) {
  const digits = text.trim();
  if (!/^\d{1,20}$/.test(digits) || BigInt(digits) >= 1n << 64n) return null;
  return BigInt(digits);
}

export const BAD_SEED = "A seed is a whole number from 0 to 18446744073709551615.";

/** @param {number} value */
export const twoDigits = (value) => value.toFixed(2);

/** Show a command line, its words in quotes where a shell needs them. @param {string} id @param {string[]} words */
export function showCommandLine(id, words) {
  const quoted = words.map((word) => (/^[\w.,:=+/@%-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`));
  const whole = quoted.flatMap((word, index) => [index ? " " : "", make("span", {}, word)]); // no line ends in a word
  element(id, HTMLElement).replaceChildren(...whole);
}
