// @ts-check
/**
 * The thread of `wavegen bench --web`: it makes sound in blocks, with a model by the page's own player or with ONNX
 * Runtime Web, and times that as the page does.
 *
 * A message from Python names one function of `ask` and what to give it; the answer is `{result}` or `{fault}`.
 */

import { BLOCK } from "./live.js";
import { Player } from "./player.js";

const WARM_UP_MS = 500; // browsers compile what is used often once more

/** @type {Map<string, (nBlocks: number) => void | Promise<void>>} */ const makers = new Map();

/** @type {Record<string, (given: any) => Promise<number>>} */
const ask = {
  /** Load a player file into a module; the labels are the first of each, as in the page. */
  async player({ name, module, file }) {
    const player = new Player(await WebAssembly.compile(await bytes(module)), new Uint8Array(await bytes(file)), 0n);
    for (const [label, values] of Object.entries(player.description.labels)) player.changeLabel(label, values[0]);
    return begin(name, (nBlocks) => {
      for (let block = 0; block < nBlocks; block++) player.make(BLOCK);
    });
  },

  /** Load a graph of one step (rivals.step_model): the older taps of every layer go in, its newest input comes out. */
  async onnx({ name, library, graph, n_taps, dilations, n_channels }) {
    const ort = await import(`${library}ort.wasm.min.mjs`);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = new URL(library, location.href).href;
    const session = await ort.InferenceSession.create(new Uint8Array(await bytes(graph)));
    const rings = dilations.map((/** @type {number} */ one) => new Float32Array((n_taps - 1) * one * n_channels));
    const past = new Float32Array(dilations.length * (n_taps - 1) * n_channels);
    const shape = [dilations.length, n_taps - 1, 1, n_channels];
    const code = new BigInt64Array([-1n]);
    let step = 0;
    return begin(name, async (nBlocks) => {
      for (const end = step + nBlocks * BLOCK; step < end; step++) {
        for (const [layer, ring] of rings.entries())
          for (let tap = 0; tap < n_taps - 1; tap++) {
            const row = ((step + tap * dilations[layer]) * n_channels) % ring.length;
            past.set(ring.subarray(row, row + n_channels), (layer * (n_taps - 1) + tap) * n_channels);
          }
        const made = await session.run({
          code: new ort.Tensor("int64", code, [1]),
          past: new ort.Tensor("float32", past, shape),
        });
        for (const [layer, ring] of rings.entries())
          ring.set(
            made.rows.data.subarray(layer * n_channels, (layer + 1) * n_channels),
            (step * n_channels) % ring.length,
          );
        code[0] = BigInt(draw(made.parameters.data));
      }
    });
  },

  /** Make so many blocks; returns the seconds of work. */
  async time({ name, n }) {
    const make = /** @type {(nBlocks: number) => void | Promise<void>} */ (makers.get(name));
    const began = performance.now();
    await make(n);
    return (performance.now() - began) / 1000;
  },
};

/** @param {string} name @param {(nBlocks: number) => void | Promise<void>} make */
async function begin(name, make) {
  makers.set(name, make);
  for (const began = performance.now(); performance.now() - began < WARM_UP_MS;) await make(1);
  return BLOCK;
}

/** A code by the softmax of its logits. @param {Float32Array} logits */
function draw(logits) {
  const highest = logits.reduce((one, other) => Math.max(one, other));
  const weights = logits.map((logit) => Math.exp(logit - highest));
  let left = Math.random() * weights.reduce((sum, weight) => sum + weight, 0);
  const drawn = weights.findIndex((weight) => (left -= weight) < 0);
  return drawn < 0 ? weights.length - 1 : drawn;
}

/** @param {string} file */
async function bytes(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file}: ${response.status}`);
  return response.arrayBuffer();
}

onmessage = async ({ data: { what, ...given } }) => {
  try {
    postMessage({ result: await ask[what](given) });
  } catch (error) {
    postMessage({ fault: String(error) });
  }
};
