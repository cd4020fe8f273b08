"""Sound from what `wavegen export MODEL --to onnx OUT` wrote, with nothing but onnxruntime (docs/export.md).

python onnx_generate.py music.onnx piano.wav seconds=5 piece=gold-rush
"""

import json
import sys
import wave

import numpy as np
import onnxruntime

path, out, *words = sys.argv[1:]
options = {"seconds": "1", "temperature": "1", **dict(word.split("=", 1) for word in words)}
try:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = json.loads(session.get_modelmeta().custom_metadata_map["wavegen"])
    assert (model["part"], model["makes"], model["files"]) == ("step", "sound", {})
except Exception as error:
    sys.exit(f"{path} is not a step that makes sound by itself ({type(error).__name__})")
head, n, rate = model["head"], model["codec"]["n_classes"], model["sample_rate"]
temperature = float(options["temperature"])
random, guidance = np.random.default_rng(0), model["decoding"].get("guidance", 1)
labels = {}  # for two streams: with the labels, and with unknown ones, whose numbers are the last
for name, values in model["labels"].items():
    labels[f"label_{name}"] = np.array([[*values, options.get(name)].index(options.get(name)), len(values)])


def draw(parameters):
    """A code, from the parameters of its distribution."""
    logits, *mixture = np.split(parameters, 1 if head["kind"] == "categorical" else 3)
    chosen = np.argmax(logits + temperature * random.gumbel(size=len(logits)))
    if not mixture:
        return chosen
    mean, log_scale = (each[chosen] for each in mixture)  # of a logistic distribution, on an axis from -1 to 1
    scale = np.exp(np.clip(log_scale - np.log(2 / (n - 1)), *head["log_scales"]))
    return np.clip(np.rint((mean + 1) * (n - 1) / 2 + temperature * scale * random.logistic()), 0, n - 1)


codes, n_streams = [model["first_code"]], 2 if labels else 1
state = np.zeros((n_streams, model["state"]["shape"][1]), dtype=np.float32)
for _ in range(round(float(options["seconds"]) * rate)):
    code = np.full(n_streams, codes[-1], dtype=np.int64)
    parameters, state = session.run(None, {"code": code, "state": state, **labels})
    labelled, unlabelled = parameters[0], parameters[-1]
    codes.append(draw(labelled if guidance == 1 else unlabelled + guidance * (labelled - unlabelled)))
sound = 2 * np.array(codes[1:]) / (n - 1) - 1
if model["codec"]["kind"] == "mu-law":
    sound = np.sign(sound) * np.expm1(np.abs(sound) * np.log(n)) / (n - 1)
for step in range(1, len(sound)):
    sound[step] += model["codec"]["pre_emphasis"] * sound[step - 1]
with wave.open(out, "wb") as file:
    file.setparams((1, 2, rate, 0, "NONE", ""))
    file.writeframes(np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
