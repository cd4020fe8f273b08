// @ts-check
/** The page of a service: which models it has, the one that was chosen, and its view, which plays through the service. */

import { element, freshSeed, make } from "./controls.js";
import { Fault } from "./engine.js";
import { ImageView } from "./images.js";
import { RemoteImages, RemoteSound } from "./remote.js";
import { SoundView } from "./sound.js";

/**
 * @typedef {object} Listed a model of /v1/models
 * @property {string} name
 * @property {string} about
 * @property {string} credit
 * @property {"sound" | "images"} makes
 * @property {boolean} speaks whether it makes sound of itself
 * @property {number} sample_rate Hz; 0 of images
 * @property {number[]} shape
 * @property {Record<string, string[]>} labels
 * @property {Record<string, number | null>} decoding
 * @property {number | null} temperature_frames
 * @property {boolean} can_be_guided
 * @property {boolean} has_top
 * @property {number | null} times_real_time of one stream
 */

const title = element("title", HTMLElement);
const about = element("about", HTMLElement);
const credit = element("credit", HTMLElement);
const loading = element("loading", HTMLElement);
const fault = element("fault", HTMLElement);
const nav = element("models", HTMLElement);

/** @type {Listed[]} */ let models = [];
/** @type {SoundView | ImageView | null} */ let view = null;

/** @param {string} sentence */
function showFault(sentence) {
  view?.close();
  view = null;
  loading.hidden = true;
  fault.textContent = sentence;
  fault.hidden = false;
}

/** @param {unknown} error @returns {string} */
function sentenceOf(error) {
  if (error instanceof Fault) return error.message;
  console.error(error);
  return `Something went wrong in this page: ${error instanceof Error ? error.message : error}`;
}

/** @returns {Promise<{version: string, models: Listed[]}>} */
async function loadList() {
  const answer = await fetch("/v1/models").catch(() => null);
  if (answer === null) throw new Fault("The service does not answer; is it still running?");
  if (!answer.ok) throw new Fault((await answer.json()).detail);
  return answer.json();
}

/** Show the model that the address names, or the first one. */
function choose() {
  const name = decodeURIComponent(location.hash.slice(1));
  const listed = models.find((model) => model.name === name) ?? models[0];
  view?.close();
  view = null;
  for (const link of nav.querySelectorAll("a"))
    if (link.dataset.name === listed.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  document.title = `${listed.name} · wavegen`;
  title.textContent = listed.name;
  about.textContent = listed.about ? `${listed.about.charAt(0).toUpperCase()}${listed.about.slice(1)}.` : "";
  credit.textContent = listed.credit ? `Made from: ${listed.credit}` : "";
  fault.hidden = true;
  loading.hidden = true;
  for (const place of document.querySelectorAll(".precision")) place.textContent = "auto, of the service";
  const ready = readyOf(listed);
  view =
    listed.makes === "sound"
      ? new SoundView(/** @type {any} */ (new RemoteSound(listed.name, ready)), ready, listed.name, showFault, null)
      : new ImageView(/** @type {any} */ (new RemoteImages(listed.name, ready)), ready, listed.name, showFault);
}

/** What the views are made of. @param {Listed} listed @returns {any} */
function readyOf(listed) {
  const { labels, sample_rate, shape, can_be_guided, has_top } = listed;
  const decoding = { ...listed.decoding, temperature_frames: listed.temperature_frames };
  return {
    description: { sample_rate, shape, labels, decoding, can_be_guided, has_top, precision: "auto" },
    labels: Object.fromEntries(Object.entries(labels).map(([name, values]) => [name, values[0]])),
    factor: listed.times_real_time ?? NaN,
    canGive: true,
    hasBits: false,
    hasFrames: listed.temperature_frames !== null,
    seed: freshSeed(),
  };
}

async function start() {
  try {
    const list = await loadList();
    models = list.models.filter((model) => model.speaks || model.makes === "images");
    element("version", HTMLElement).textContent = `wavegen ${list.version}`;
    if (models.length === 0) throw new Fault("No model of this service makes sound or images by itself.");
    if (models.length > 1) {
      nav.append(
        ...models.map(({ name }) => make("a", { href: `#${encodeURIComponent(name)}`, "data-name": name }, name)),
      );
      nav.hidden = false;
    }
    addEventListener("hashchange", choose);
    choose();
  } catch (error) {
    showFault(sentenceOf(error));
  }
}

addEventListener("unhandledrejection", (event) => showFault(sentenceOf(event.reason)));
start();
