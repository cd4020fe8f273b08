// @ts-check
/** The page: which models there are, the one that was chosen, and its view. */

import { element, freshSeed, make } from "./controls.js";
import { chooseWay, Fault, loadBytes, loadModule, startWorker } from "./engine.js";
import { ImageView } from "./images.js";
import { SoundView } from "./sound.js";

/**
 * @typedef {object} Listed a model of models.json
 * @property {string} name
 * @property {string} file
 * @property {number} n_bytes of the file
 * @property {string} about
 * @property {string} credit
 * @property {number} sample_rate Hz; 0 of images
 * @property {string} precision of the file
 * @property {string} relaxed_precision what it is played in by a browser with relaxed SIMD
 */

const title = element("title", HTMLElement);
const about = element("about", HTMLElement);
const credit = element("credit", HTMLElement);
const loading = element("loading", HTMLElement);
const fault = element("fault", HTMLElement);
const nav = element("models", HTMLElement);

/** @type {Listed[]} */ let models = [];
/** @type {SoundView | ImageView | null} */ let view = null;
let nChosen = 0; // tells a model that is still loading that another one was chosen

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
  const bytes = await loadBytes("models.json", () => {});
  try {
    const list = JSON.parse(new TextDecoder().decode(bytes));
    if (!Array.isArray(list.models) || list.models.length === 0) throw new SyntaxError();
    return list;
  } catch {
    throw new Fault("models.json is damaged; export the page again.");
  }
}

/** @param {string} text */
function withCapital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Show the model that the address names, or the first one. */
async function choose() {
  const name = decodeURIComponent(location.hash.slice(1));
  const listed = models.find((model) => model.name === name) ?? models[0];
  const number = ++nChosen;
  view?.close();
  view = null;
  for (const link of nav.querySelectorAll("a"))
    if (link.dataset.name === listed.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  document.title = `${listed.name} · wavegen`;
  title.textContent = listed.name;
  about.textContent = listed.about ? `${withCapital(listed.about)}.` : "";
  credit.textContent = listed.credit ? `Made from: ${listed.credit}` : "";
  fault.hidden = true;
  loading.hidden = false;
  const tell = (/** @type {number} */ nLoaded) => {
    if (number === nChosen) loading.textContent = `Loading ${megabytes(nLoaded)} of ${megabytes(listed.n_bytes)} MB`;
  };
  tell(0);
  try {
    const way = chooseWay(listed);
    const [file] = await Promise.all([loadBytes(listed.file, tell), loadModule(way.module)]);
    if (number !== nChosen) return;
    loading.textContent = "Starting …";
    const { worker, ready } = await startWorker(file, freshSeed(), way);
    if (number !== nChosen) return worker.terminate();
    for (const place of document.querySelectorAll(".precision")) place.textContent = way.precision;
    loading.hidden = true;
    const smaller = models
      .filter((model) => work(model) > 0 && work(model) < work(listed))
      .sort((one, other) => work(one) - work(other))[0];
    view =
      ready.description.shape.length === 0
        ? new SoundView(worker, ready, listed.name, showFault, smaller?.name ?? null)
        : new ImageView(worker, ready, listed.name, showFault);
  } catch (error) {
    if (number === nChosen) showFault(sentenceOf(error));
  }
}

/** How much work a second of sound is, about; 0 of images. @param {Listed} model */
function work(model) {
  return model.n_bytes * model.sample_rate;
}

/** @param {number} nBytes */
function megabytes(nBytes) {
  return (nBytes / 1e6).toFixed(1);
}

async function start() {
  try {
    const list = await loadList();
    models = list.models;
    element("version", HTMLElement).textContent = `wavegen ${list.version}`;
    if (models.length > 1) {
      nav.append(
        ...models.map(({ name }) => make("a", { href: `#${encodeURIComponent(name)}`, "data-name": name }, name)),
      );
      nav.hidden = false;
    }
    addEventListener("hashchange", choose);
    await choose();
  } catch (error) {
    showFault(sentenceOf(error));
  }
}

addEventListener("unhandledrejection", (event) => showFault(sentenceOf(event.reason)));
start();
