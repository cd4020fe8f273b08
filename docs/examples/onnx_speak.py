"""Speech from what `wavegen export speech --to onnx speech.onnx` wrote, with nothing but onnxruntime (docs/export.md).

python onnx_speak.py speech.onnx babble.wav seconds=3 speaker=118
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime

path, out, *words = sys.argv[1:]
options = {"seconds": "3", **dict(word.split("=", 1) for word in words)}
random = np.random.default_rng(0)


class File:
    """One of the files: what its metadata says, and its outputs by name."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.facts = json.loads(self.session.get_modelmeta().custom_metadata_map["wavegen"])
        self.labels = {}
        for name, values in self.facts["labels"].items():  # one that is not asked for is unknown: the last number
            wanted = options.get(name)
            if f"label_{name}" in [one.name for one in self.session.get_inputs()]:
                self.labels[f"label_{name}"] = np.array([[*values, wanted].index(wanted)])

    def __call__(self, **inputs):
        outputs = [one.name for one in self.session.get_outputs()]
        return dict(zip(outputs, self.session.run(None, {**inputs, **self.labels}), strict=True))

    def start(self):
        """Code and state at the beginning."""
        self.code, self.state = np.array([-1]), np.zeros((1, self.facts["state"]["shape"][1]), dtype=np.float32)

    def step(self, temperature, **inputs):
        """The next code."""
        made = self(code=self.code, state=self.state, **inputs)
        self.state, head, n = made["next_state"], self.facts["head"], self.facts["codec"]["n_classes"]
        logits, *mixture = np.split(made["parameters"][0], 3 if "n_mixtures" in head else 1)
        chosen = np.argmax(logits + temperature * random.gumbel(size=len(logits)))
        if mixture:
            mean, log_scale = (each[chosen] for each in mixture)
            scale = np.exp(np.clip(log_scale - np.log(2 / (n - 1)), *head["log_scales"]))
            code = (mean + 1) * (n - 1) / 2 + temperature * scale * random.logistic()
            chosen = int(np.clip(np.rint(code), 0, n - 1))
        self.code = np.array([chosen])
        return chosen


vocoder = File(path)
reader, planner, planned = (
    File(Path(path).with_name(vocoder.facts["files"][role])) for role in ("frames", "planner", "planned")
)
hop, side, rate = reader.facts["hop"], reader.facts["n_neighbours"], vocoder.facts["sample_rate"]
window, ahead, chunk = (planned.facts[name] for name in ("n_window", "n_ahead", "n_frames"))
n_frames = -(-round(float(options["seconds"]) * rate) // (hop * chunk)) * chunk

# Plan: a code for each channel of each frame, then frames of those, smoothed over time. The frames that lie before the
# first are like it. How loud and how high a frame is, is drawn as it was learnt; its detail at the model's temperature.
planner.start()
detail = planner.facts["decoding"].get("temperature", 1)
plan = [
    [
        planner.step(detail if is_detail else 1, channel=np.array([at]))
        for at, is_detail in enumerate(planned.facts["is_detail"])
    ]
    for _ in range(n_frames + ahead)
]
plan = np.array([plan[0]] * ahead + plan)[None]
frames = [planned(codes=plan[:, at : at + window])["frames"] for at in range(0, n_frames, chunk)]

# What the vocoder makes of the frames, with silence before and after them; one more than it makes sound of.
silence = np.tile(np.float32(reader.facts["silent_frame"]), (1, side, 1))
told = reader(frames=np.concatenate([silence, *frames, silence[:, :1], silence], axis=1))
vocoder.start()
decoding, codes = vocoder.facts["decoding"], []
for step in range(n_frames * hop):
    frame, within = divmod(step, hop)
    here, there = told["condition"][:, frame], told["condition"][:, frame + 1]
    inputs = {"condition": here + np.float32(within / hop) * (there - here)}
    temperature = decoding.get("temperature", 1)
    if "gain" in told:
        inputs |= {name: told[name][:, frame] for name in ("coefficients", "gain")}
        inputs["period"] = told["period"][:, frame, within]
        voiced = temperature if decoding.get("voiced_temperature") is None else decoding["voiced_temperature"]
        temperature += (voiced - temperature) * told["voicing"][0, frame]
    codes.append(vocoder.step(temperature, **inputs))

n, sound = vocoder.facts["codec"]["n_classes"], []
for code in codes:
    before = sound[-1] if sound else 0
    sound.append(2 * code / (n - 1) - 1 + vocoder.facts["codec"]["pre_emphasis"] * before)
with wave.open(out, "wb") as file:
    file.setparams((1, 2, rate, 0, "NONE", ""))
    file.writeframes(np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
