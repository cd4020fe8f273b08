// @ts-check
/** What the views take for a thread with a model (worker.js) and is a service: the same messages, over a network. */

const CLOSED = "The connection to the service was lost; press Play or Draw to try again.";

/** JSON whose integers keep all their digits. @param {object} message */
function textOf(message) {
  const text = JSON.stringify(message, (_, value) => (typeof value === "bigint" ? `<${value}>` : value));
  return text.replaceAll(/"<(\d+)>"/g, "$1");
}

/** @param {string} text @returns {bigint | null} the seed that a message tells, all digits of it */
function seedIn(text) {
  const found = /"seed":\s*(\d+)/.exec(text);
  return found === null ? null : BigInt(found[1]);
}

/** Live sound of a service. How much is made ahead the audio thread says, as it says to a worker. */
export class RemoteSound {
  /** @type {(event: {data: any}) => void} */ onmessage = () => {};
  #name;
  #ready;
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {MessagePort | null} */ #playback = null;
  #isOpen = false;
  /** @type {Record<string, number | null>} */ #options = {};
  /** @type {Record<string, string | null>} */ #labels;
  #seed;
  #beginsAgain = true;
  #isFrozen = false;
  #hasEnded = false;
  #nPlayed = 0;
  #nAhead = 0;
  #nReceived = 0; // samples, over all connections
  #nBefore = 0; // of those, from earlier ones
  #take = 0; // of the blocks that come now
  #nTakes = 0; // of earlier connections

  /** @param {string} name of the model @param {{labels: Record<string, string | null>, seed: bigint}} ready */
  constructor(name, ready) {
    this.#name = name;
    this.#ready = /** @type {any} */ (ready);
    this.#labels = { ...ready.labels };
    this.#seed = ready.seed;
  }

  /** @param {any} data a message of the view */
  postMessage(data) {
    switch (data.type) {
      case "play":
        this.#playback = data.port;
        data.port.onmessage = (/** @type {MessageEvent} */ event) => this.#asked(event.data);
        return;
      case "change":
        this.#options[data.name] = data.value;
        return this.#send({ type: "change", [data.name]: data.value });
      case "label":
        this.#labels[data.name] = data.value;
        return this.#send({ type: "change", labels: { [data.name]: data.value } });
      case "restart":
        this.#seed = data.seed;
        this.#isFrozen = false;
        this.#send({ type: "restart", seed: data.seed });
        return this.#status();
      case "freeze":
        this.#isFrozen = data.isFrozen;
        return this.#send({ type: "freeze", frozen: data.isFrozen });
      case "again":
        this.#beginsAgain = data.beginsAgain;
        return this.#send({ type: "again", again: data.beginsAgain });
    }
  }

  terminate() {
    this.#socket?.close();
    this.#socket = null;
    this.#playback?.close();
    this.#playback = null;
  }

  /** What the audio thread has played, and wants. @param {{nPlayed: number, nAhead: number}} wanted */
  #asked({ nPlayed, nAhead }) {
    this.#nPlayed = nPlayed;
    this.#nAhead = nAhead;
    if (this.#socket === null) this.#connect();
    else this.#tellPlayed();
  }

  #tellPlayed() {
    const samples = Math.max(0, this.#nPlayed - this.#nBefore);
    const ahead = Math.min(5, Math.max(0.02, this.#nAhead / this.#ready.description.sample_rate));
    this.#send({ type: "played", samples, ahead });
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/live`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#nBefore = this.#nReceived;
    this.#nTakes = this.#take + (this.#nReceived ? 1 : 0);
    socket.onopen = () => socket.send(textOf(this.#hello()));
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      if (data instanceof ArrayBuffer) this.#heard(data);
      else this.#told(JSON.parse(data), data);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      if (!this.#isOpen) this.#fault(CLOSED);
      this.#isOpen = false;
    };
  }

  #hello() {
    const options = Object.fromEntries(Object.entries(this.#options).filter(([, value]) => value !== null));
    return {
      ...{ type: "hello", model: this.#name, format: "f32le", seed: this.#seed, labels: this.#labels },
      ...options,
    };
  }

  /** @param {any} message of the service @param {string} text */
  #told(message, text) {
    switch (message.type) {
      case "ready":
        this.#isOpen = true;
        this.#send({ type: "again", again: this.#beginsAgain });
        if (this.#isFrozen) this.#send({ type: "freeze", frozen: true });
        return this.#tellPlayed();
      case "began":
        this.#take = this.#nTakes + message.take;
        this.#seed = seedIn(text) ?? this.#seed;
        this.#hasEnded = false;
        return this.#status();
      case "silent":
        this.#hasEnded = true;
        return this.#status();
      case "end": // it goes on, from the beginning, when the audio thread asks again
        return;
      case "refused":
      case "error":
        return this.#fault(`${message.detail.charAt(0).toUpperCase()}${message.detail.slice(1)}.`);
    }
  }

  /** @param {ArrayBuffer} bytes */
  #heard(bytes) {
    const block = new Float32Array(bytes);
    this.#nReceived += block.length;
    this.#playback?.postMessage({ block, take: this.#take }, [block.buffer]);
  }

  #status() {
    const { factor } = this.#ready;
    this.onmessage({ data: { type: "status", seed: this.#seed, hasEnded: this.#hasEnded, factor, bits: NaN } });
  }

  /** @param {string} sentence */
  #fault(sentence) {
    this.onmessage({ data: { type: "fault", sentence } });
  }

  /** @param {object} message */
  #send(message) {
    if (this.#isOpen && this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(textOf(message));
  }
}

/** Images of a service, which come all at once. */
export class RemoteImages {
  /** @type {(event: {data: any}) => void} */ onmessage = () => {};
  #name;
  #shape;
  /** @type {Record<string, number | null>} */ #options = {};
  /** @type {AbortController | null} */ #asking = null;

  /** @param {string} name of the model @param {{description: {shape: number[]}}} ready */
  constructor(name, ready) {
    this.#name = name;
    this.#shape = ready.description.shape;
  }

  /** @param {any} data a message of the view */
  postMessage(data) {
    if (data.type === "change") this.#options[data.name] = data.value;
    else if (data.type === "draw") this.#draw(data);
    else if (data.type === "stop") this.#asking?.abort();
  }

  terminate() {
    this.#asking?.abort();
  }

  /** @param {{drawing: number, jobs: any[], given: Float32Array | null}} wanted */
  async #draw({ drawing, jobs, given }) {
    this.#asking?.abort();
    this.#asking = new AbortController();
    const began = performance.now();
    try {
      const asked = given === null ? this.#drawn(jobs) : await this.#completed(jobs, given);
      const answer = await fetch(asked.address, { method: "POST", signal: this.#asking.signal, ...asked.request });
      const told = await answer.json();
      if (!answer.ok) return this.onmessage({ data: { type: "fault", sentence: `${told.detail}.` } });
      const [height] = this.#shape;
      const ms = (performance.now() - began) / (jobs.length * height);
      told.images.forEach((/** @type {any[]} */ rows, /** @type {number} */ job) =>
        rows.forEach((pixels, row) => {
          const values = Float32Array.from(pixels.flat(), (value) => value / 255);
          this.onmessage({ data: { type: "row", drawing, job, row, values, ms, bits: NaN } });
        }),
      );
      this.onmessage({ data: { type: "drawn", drawing } });
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError"))
        this.onmessage({ data: { type: "fault", sentence: CLOSED } });
    }
  }

  /** @param {any[]} jobs */
  #drawn(jobs) {
    const { seed, number } = jobs[0];
    const labels = jobs.map((job) => job.labels);
    const options = Object.fromEntries(Object.entries(this.#options).filter(([, value]) => value !== null));
    const body = textOf({
      ...{ model: this.#name, n: jobs.length, first: Number(number), seed, labels, format: "json" },
      ...options,
    });
    return { address: "/v1/images", request: { body, headers: { "Content-Type": "application/json" } } };
  }

  /** @param {any[]} jobs @param {Float32Array} given */
  async #completed(jobs, given) {
    const [height, width, nColours] = this.#shape;
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const picture = context.createImageData(width, height);
    for (let at = 0; at < width * height; at++)
      for (let colour = 0; colour < 4; colour++)
        picture.data[4 * at + colour] =
          colour === 3 ? 255 : Math.round(255 * Math.max(0, given[at * nColours + Math.min(colour, nColours - 1)]));
    context.putImageData(picture, 0, 0);
    const rows = Array.from({ length: height }, (_, row) => given[row * width * nColours]).filter((one) => one >= 0);
    const query = new URLSearchParams({ model: this.#name, n: `${jobs.length}`, rows: `${rows.length}`, format: "json" });
    query.set("seed", `${jobs[0].seed}`);
    for (const [name, value] of Object.entries(jobs[0].labels)) if (value !== null) query.append("label", `${name}=${value}`);
    for (const [name, value] of Object.entries(this.#options)) if (value !== null) query.set(name, `${value}`);
    return { address: `/v1/images/complete?${query}`, request: { body: await canvas.convertToBlob() } };
  }
}
