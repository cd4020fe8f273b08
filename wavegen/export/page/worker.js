// @ts-check
/**
 * The thread in which a model works. It makes blocks of sound for the audio thread (playback.js), as far ahead as that
 * asks for, or images row by row for the page.
 *
 * Messages from the page: see `receive`. Messages to the page: `ready`, `fault`, `status`, `row` and `drawn`.
 */

import { BLOCK, Live } from "./live.js";
import { Player } from "./player.js";

const WARM_UP_MS = 400; // of work before the page is told how fast it is: browsers compile what is used often once more
const SECOND_MS = 1600; // of more work where that seems too slow, for a machine may have been busy
const STATUS_MS = 100;
const MEMORY = 0.95; // how much of the older work a measurement of the speed keeps with each block

/** @typedef {{seed: bigint, number: bigint, labels: Record<string, string | null>}} Job one image */

/** @type {Player} */ let player;
/** @type {Live | null} */ let live = null;
/** @type {MessagePort | null} */ let playback = null;
/** @type {Job[]} */ let jobs = [];
/** @type {Float32Array | null} */ let given = null; // what the images begin with
let drawing = 0; // the number that the page gave these jobs
let job = 0,
  row = 0; // the image in work
let nMade = 0,
  nPlayed = 0,
  nAhead = 0; // samples
let nTimed = 0,
  timedMs = 0; // samples and the work that they took, the newest counting most
let saidAt = 0;

// Turns of work are messages to itself, between which messages from others come in.
const turns = new MessageChannel();
let isWorking = false;
turns.port1.onmessage = () =>
  guarded(() => {
    isWorking = false;
    if (live === null ? drawRow() : makeBlock()) work();
  });

function work() {
  if (isWorking) return;
  isWorking = true;
  turns.port2.postMessage(null);
}

/** @param {() => void} action */
function guarded(action) {
  try {
    action();
  } catch (error) {
    postMessage({ type: "fault", sentence: sentenceOf(error) });
  }
}

/** @param {unknown} error */
function sentenceOf(error) {
  if (error instanceof RangeError) return "There is not enough memory for this model here.";
  if (error instanceof WebAssembly.RuntimeError) return "The model stopped working; load the page again.";
  return error instanceof Error ? error.message : String(error);
}

onmessage = ({ data }) => guarded(() => receive(data));

/** @param {any} data a message from the page */
function receive(data) {
  switch (data.type) {
    case "load":
      return load(data.module, new Uint8Array(data.file), data.seed, data.labels);
    case "play": // from here on blocks go to the audio thread
      playback = data.port;
      data.port.onmessage = heard;
      return;
    case "change":
      (live ?? player).change(data.name, data.value);
      return;
    case "label":
      (live ?? player).changeLabel(data.name, data.value);
      return status();
    case "restart":
      live?.restart(data.seed);
      return status();
    case "freeze":
      if (live !== null) live.isFrozen = data.isFrozen;
      return;
    case "again":
      if (live !== null) live.beginsAgain = data.beginsAgain;
      return;
    case "draw":
      jobs = data.jobs;
      given = data.given;
      drawing = data.drawing;
      job = row = 0;
      return work();
    case "stop":
      jobs = [];
  }
}

/**
 * @param {WebAssembly.Module} module
 * @param {Uint8Array} file
 * @param {bigint} seed
 * @param {Record<string, string | null> | null} labels to begin with; null: the first value of each
 */
function load(module, file, seed, labels) {
  player = new Player(module, file, seed);
  const description = player.description;
  const chosen =
    labels ?? Object.fromEntries(Object.entries(description.labels).map(([name, values]) => [name, values[0]]));
  if (description.shape.length === 0) {
    for (const [name, value] of Object.entries(chosen)) player.changeLabel(name, value);
    if (warmUp(WARM_UP_MS) < 1) warmUp(SECOND_MS);
    live = new Live(player, seed);
  }
  postMessage({
    type: "ready",
    description,
    labels: chosen,
    factor: factor(),
    canGive: "give" in player,
    hasBits: "bits" in player,
    hasFrames: player.change("temperature_frames", description.decoding.temperature_frames ?? null),
  });
}

/**
 * Make some sound that nobody hears, to know how fast this is.
 * @param {number} ms of work @returns {number} the factor of its second half
 */
function warmUp(ms) {
  const began = performance.now();
  nTimed = timedMs = 0;
  let isSecondHalf = false;
  for (let spent = 0; spent < ms; spent = performance.now() - began) {
    if (!isSecondHalf && spent > ms / 2) {
      nTimed = timedMs = 0;
      isSecondHalf = true;
    }
    timed(() => player.make(BLOCK).length);
  }
  return factor();
}

/** @param {() => number} make makes so many samples */
function timed(make) {
  const began = performance.now();
  nTimed = MEMORY * nTimed + make();
  timedMs = MEMORY * timedMs + performance.now() - began;
}

/** Seconds of sound made per second of work. */
function factor() {
  const rate = player.description.sample_rate;
  return timedMs > 0 ? nTimed / rate / (timedMs / 1000) : NaN;
}

/** @param {MessageEvent<{nPlayed: number, nAhead: number}>} message */
function heard({ data }) {
  ({ nPlayed, nAhead } = data);
  work();
}

/** @returns {boolean} whether there is more to do */
function makeBlock() {
  if (live === null || playback === null || nMade - nPlayed >= nAhead) return false;
  const sound = live;
  /** @type {Float32Array<ArrayBufferLike>} */ let block = new Float32Array(0);
  if (sound.isLooping) block = sound.block();
  else timed(() => (block = sound.block()).length);
  nMade += block.length;
  playback.postMessage({ block, take: live.take }, [block.buffer]);
  if (performance.now() - saidAt >= STATUS_MS) status();
  return true;
}

function status() {
  saidAt = performance.now();
  if (live === null) return;
  const { seed, hasEnded } = live;
  postMessage({ type: "status", seed, hasEnded, factor: factor(), bits: bits() });
}

/** Mean surprise of the newest codes, bits; NaN where the model does not tell. @returns {number} */
function bits() {
  return player.bits;
}

/** @returns {boolean} whether there is more to do */
function drawRow() {
  const now = jobs[job];
  if (now === undefined) return false;
  const [height, width, nColours] = player.description.shape;
  if (row === 0) {
    for (const [name, value] of Object.entries(now.labels)) player.changeLabel(name, value);
    player.restart(now.seed, now.number);
    if (given !== null) player.give(given);
  }
  const began = performance.now();
  const values = player.make(width * nColours);
  const ms = performance.now() - began;
  postMessage({ type: "row", drawing, job, row, values, ms, bits: bits() }, { transfer: [values.buffer] });
  row += 1;
  if (row === height) {
    row = 0;
    job += 1;
  }
  if (job === jobs.length) postMessage({ type: "drawn", drawing });
  return job < jobs.length;
}
