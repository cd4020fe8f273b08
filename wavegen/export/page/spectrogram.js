// @ts-check
/** A moving spectrogram of what is heard: time to the right, pitch upwards on a mel scale, loud is bright. */

const FLOOR_DB = -90;
const TOP_DB = -15;
const SECONDS = 6; // of sound across the picture
const GAP_S = 0.25; // after which what was not looked at stays black, as when the page was hidden
const MARKS_HZ = [250, 500, 1000, 2000, 4000, 8000];
const COLOURS = ["#07060f", "#2a1357", "#6a1c81", "#b3367a", "#ee605e", "#fcae78", "#fcfdbf"]; // as matplotlib's magma

/** Draws on a canvas while it runs. */
export class Spectrogram {
  #analyser;
  #canvas;
  #context;
  #db;
  #palette = palette();
  /** @type {number[]} */ #rows = []; // the bin of each row of the picture
  #time = 0; // s of the context at the newest column
  #column = 0;
  #frame = 0;
  #isCalm = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {AnalyserNode} analyser @param {HTMLCanvasElement} canvas */
  constructor(analyser, canvas) {
    this.#analyser = analyser;
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    analyser.fftSize = analyser.context.sampleRate > 12000 ? 1024 : 512; // 64 ms
    analyser.smoothingTimeConstant = 0;
    this.#db = new Float32Array(analyser.frequencyBinCount);
    this.#fit();
  }

  start() {
    this.#time = this.#analyser.context.currentTime;
    cancelAnimationFrame(this.#frame);
    const draw = () => {
      this.#frame = requestAnimationFrame(draw);
      this.#draw();
    };
    draw();
  }

  stop() {
    cancelAnimationFrame(this.#frame);
  }

  /** Let the picture have as many points as the screen shows; what was drawn is lost if that changes. */
  #fit() {
    const width = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    const height = Math.round(this.#canvas.clientHeight * devicePixelRatio);
    if (
      width < 2 ||
      height < 2 ||
      (width === this.#canvas.width && height === this.#canvas.height && this.#rows.length)
    )
      return;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#context.fillStyle = COLOURS[0];
    this.#context.fillRect(0, 0, width, height);
    const nyquist = this.#analyser.context.sampleRate / 2;
    this.#rows = Array.from({ length: height }, (_, row) => {
      const hz = hzOf((melOf(nyquist) * (height - 0.5 - row)) / height);
      return Math.min(Math.round((hz / nyquist) * this.#db.length), this.#db.length - 1);
    });
    this.#column = 0;
  }

  #draw() {
    this.#fit();
    const { width, height } = this.#canvas;
    const now = this.#analyser.context.currentTime;
    const nDue = Math.floor(((now - this.#time) * width) / SECONDS);
    const n = Math.min(nDue, width);
    if (n < 1 || this.#rows.length === 0) return;
    this.#time += (nDue * SECONDS) / width;
    const nNew = n * SECONDS > GAP_S * width ? 1 : n; // columns of what sounds now
    this.#analyser.getFloatFrequencyData(this.#db);
    const column = this.#context.createImageData(n, height);
    const points = new Uint32Array(column.data.buffer);
    this.#rows.forEach((bin, row) => {
      const share = (this.#db[bin] - FLOOR_DB) / (TOP_DB - FLOOR_DB);
      const colour = this.#palette[Math.round(255 * Math.min(Math.max(share, 0), 1)) || 0];
      points.fill(this.#palette[0], row * n, (row + 1) * n - nNew).fill(colour, (row + 1) * n - nNew, (row + 1) * n);
    });
    if (this.#isCalm.matches) this.#sweep(column, n);
    else {
      this.#context.drawImage(this.#canvas, n, 0, width - n, height, 0, 0, width - n, height);
      this.#context.putImageData(column, width - n, 0);
    }
  }

  /**
   * Without the whole picture moving: the newest columns replace the oldest.
   * @param {ImageData} column @param {number} n
   */
  #sweep(column, n) {
    const { width, height } = this.#canvas;
    if (this.#column + n > width) this.#column = 0;
    this.#context.putImageData(column, this.#column, 0);
    this.#column += n;
    this.#context.fillStyle = COLOURS[6];
    this.#context.fillRect(this.#column, 0, Math.ceil(devicePixelRatio), height);
  }
}

/**
 * Where frequencies are written in the picture: Hz, and how far up.
 * @param {number} sampleRate @returns {{hz: number, share: number}[]}
 */
export function marks(sampleRate) {
  return MARKS_HZ.filter((hz) => hz < sampleRate / 2).map((hz) => ({ hz, share: melOf(hz) / melOf(sampleRate / 2) }));
}

/** @param {number} hz */
function melOf(hz) {
  return Math.log1p(hz / 700);
}

/** @param {number} mel */
function hzOf(mel) {
  return 700 * Math.expm1(mel);
}

/** 256 colours as 32 bits each, as image data has them. */
function palette() {
  const stops = COLOURS.map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, index) => {
    const at = (index / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    const [r, g, b] = stops[low].map((value, part) => Math.round(value + (stops[low + 1][part] - value) * (at - low)));
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}
