// Sound from what `wavegen export MODEL --to onnx OUT` wrote, with nothing but onnxruntime (docs/export.md).
//
//     npm install onnxruntime-node
//     node onnx_generate.mjs music.onnx piano.wav seconds=5 piece=gold-rush
import { readFile, writeFile } from "node:fs/promises";
import { InferenceSession, Tensor } from "onnxruntime-node";

const [path, out, ...words] = process.argv.slice(2);
const options = { seconds: 1, temperature: 1, ...Object.fromEntries(words.map((word) => word.split("="))) };
let session, model;
try {
  const file = await readFile(path); // it ends in the metadata, which onnxruntime does not hand out in JavaScript
  model = JSON.parse(file.subarray(file.lastIndexOf('{"wavegen": ')).toString());
  if (model.part !== "step" || model.makes !== "sound" || model.files.frames) throw new TypeError();
  session = await InferenceSession.create(file, { intraOpNumThreads: 1 });
} catch (error) {
  console.error(`${path} is not a step that makes sound by itself (${error.name})`);
  process.exit(1);
}
const { head, codec, sample_rate: rate } = model, n = codec.n_classes, guidance = model.decoding.guidance ?? 1;
const int64 = (values) => new Tensor("int64", BigInt64Array.from(values.map(BigInt)), [values.length]);
const labels = {}; // for two streams: with the labels, and with unknown ones, whose numbers are the last
for (const [name, values] of Object.entries(model.labels))
  labels[`label_${name}`] = int64([[...values, options[name]].indexOf(options[name]), values.length]);

function draw(parameters) {
  const k = head.kind === "categorical" ? n : head.n_mixtures;
  const noisy = parameters.slice(0, k).map((each) => each - options.temperature * Math.log(-Math.log(Math.random())));
  const chosen = noisy.indexOf(noisy.reduce((a, b) => Math.max(a, b)));
  if (k === parameters.length) return chosen;
  const [mean, logScale, u] = [parameters[k + chosen], parameters[2 * k + chosen], Math.random()]; // of a logistic
  const [low, high] = head.log_scales, scale = Math.exp(Math.min(high, Math.max(low, logScale - Math.log(2 / (n - 1)))));
  const code = ((mean + 1) * (n - 1)) / 2 + options.temperature * scale * Math.log(u / (1 - u));
  return Math.min(n - 1, Math.max(0, Math.round(code)));
}

const size = [Object.keys(labels).length ? 2 : 1, model.state.shape[1]], samples = new Int16Array(options.seconds * rate);
let state = new Tensor("float32", new Float32Array(size[0] * size[1]), size), code = model.first_code, before = 0;
for (let step = 0; step < samples.length; step++) {
  const { parameters, next_state } = await session.run({ code: int64(Array(size[0]).fill(code)), state, ...labels });
  const n_parameters = parameters.dims[1], rest = parameters.data.slice(-n_parameters);
  code = draw(Array.from(parameters.data.slice(0, n_parameters), (each, at) => rest[at] + guidance * (each - rest[at])));
  state = next_state;
  const y = (2 * code) / (n - 1) - 1;
  const value = codec.kind === "mu-law" ? (Math.sign(y) * Math.expm1(Math.abs(y) * Math.log(n))) / (n - 1) : y;
  before = value + codec.pre_emphasis * before;
  samples[step] = Math.round(32767 * Math.min(1, Math.max(-1, before)));
}
const bytes = samples.byteLength, header = Buffer.from("RIFF----WAVEfmt ----------------------data----"); // of a WAV file
header.writeUInt32LE(36 + bytes, 4), header.writeUInt32LE(16, 16), header.writeUInt32LE(0x10001, 20); // PCM, mono
header.writeUInt32LE(rate, 24), header.writeUInt32LE(2 * rate, 28), header.writeUInt32LE(0x100002, 32); // 16 bits
header.write("data", 36), header.writeUInt32LE(bytes, 40);
await writeFile(out, Buffer.concat([header.subarray(0, 44), Buffer.from(samples.buffer)]));
