// @ts-check
/** What a page needs before it can work with a model: the module, the model file, and a thread with both. */

/** @typedef {import("./player.js").Description} Description */
/**
 * @typedef {object} Ready what the thread says of a model that it can play
 * @property {Description} description
 * @property {Record<string, string | null>} labels chosen
 * @property {number} factor seconds of sound made per second of work; NaN of images
 * @property {boolean} canGive whether it can complete images
 * @property {boolean} hasBits whether it tells how much of a surprise it was
 * @property {boolean} hasFrames whether it has a temperature of frames
 */

/** Something that the person in front of the page is to read: one sentence. */
export class Fault extends Error {}

// A module of one function that makes a vector of zeros: what a browser without SIMD calls invalid.
const SIMD = Uint8Array.of(
  0,
  97,
  115,
  109,
  1,
  0,
  0,
  0,
  1,
  5,
  1,
  96,
  0,
  1,
  123,
  3,
  2,
  1,
  0,
  10,
  10,
  1,
  8,
  0,
  65,
  0,
  253,
  15,
  253,
  98,
  11,
);

// The same with a relaxed dot product of bytes (i32x4.relaxed_dot_i8x16_i7x16_add_s).
// prettier-ignore
const RELAXED = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0,
  65, 0, 253, 15, 65, 0, 253, 15, 65, 0, 253, 15, 253, 147, 2, 11,
);

/** @type {Map<string, Promise<WebAssembly.Module>>} */ const compiled = new Map(); // by file

/**
 * @typedef {object} Way how a model is computed
 * @property {string} module the file
 * @property {string} precision
 */

/**
 * In the fastest way there is; `?precision=` in the address with that of the model's file takes the way that every
 * browser has.
 * @param {{precision: string, relaxed_precision: string}} model of models.json
 * @returns {Way}
 */
export function chooseWay({ precision, relaxed_precision }) {
  const wanted = new URLSearchParams(location.search).get("precision");
  if (relaxed_precision === "int8x7" && wanted !== precision && WebAssembly.validate(RELAXED))
    return { module: "player-relaxed.wasm", precision: relaxed_precision };
  return { module: "player.wasm", precision };
}

/** A module, compiled once. @param {string} name of its file @returns {Promise<WebAssembly.Module>} */
export function loadModule(name) {
  const known = compiled.get(name);
  if (known !== undefined) return known;
  const loading = (async () => {
    if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD))
      throw new Fault(
        "This browser has no WebAssembly with SIMD, which the models need; a current Chrome, Edge, Firefox or " +
          "Safari has it.",
      );
    const bytes = await loadBytes(name, () => {});
    try {
      return await WebAssembly.compile(bytes);
    } catch {
      throw new Fault(`${name} is damaged, or this browser is too old for it; export the page again.`);
    }
  })();
  compiled.set(name, loading);
  loading.catch(() => compiled.delete(name)); // which may go better another time
  return loading;
}

/**
 * @param {string} file beside the page
 * @param {(nLoaded: number) => void} tell
 * @returns {Promise<ArrayBuffer>}
 */
export async function loadBytes(file, tell) {
  let response;
  try {
    response = await fetch(file);
  } catch {
    throw new Fault(`${file} could not be loaded: no connection to where this page came from.`);
  }
  if (!response.ok) throw new Fault(`${file} could not be loaded (${response.status}); it belongs beside index.html.`);
  if (response.body === null) return response.arrayBuffer();
  const parts = [];
  let nLoaded = 0;
  const reader = response.body.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      parts.push(next.value);
      nLoaded += next.value.length;
      tell(nLoaded);
    }
  } catch {
    throw new Fault(`${file} could not be loaded: the connection broke.`);
  }
  return new Blob(parts).arrayBuffer();
}

/**
 * A thread with a model.
 * @param {ArrayBuffer} file
 * @param {bigint} seed
 * @param {Way} way
 * @returns {Promise<{worker: Worker, ready: Ready}>}
 */
export async function startWorker(file, seed, way) {
  const module = await loadModule(way.module);
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const ready = await new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.type === "ready") resolve(data);
      else if (data.type === "fault") reject(new Fault(data.sentence));
    };
    worker.onerror = () => reject(new Fault("The thread for the model could not start; a current browser will do."));
    worker.postMessage({ type: "load", module, file, seed, labels: null }, [file]);
  }).catch((fault) => {
    worker.terminate();
    throw fault;
  });
  ready.description.precision = way.precision;
  return { worker, ready };
}
