"""An image from what `wavegen export mnist --to onnx mnist.onnx` wrote, with nothing but onnxruntime (docs/export.md).

python onnx_draw.py mnist.onnx three.ppm digit=3
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

path, out, *words = sys.argv[1:]
options, random = dict(word.split("=", 1) for word in words), np.random.default_rng(0)


def load(path):
    """A file in onnxruntime, and what its metadata says."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["wavegen"])


pixel, model = load(path)
row, of_rows = load(Path(path).with_name(model["files"]["rows"]))
labels = {}  # one that is not asked for is unknown: the last number
for name, values in model["labels"].items():
    labels[f"label_{name}"] = np.array([[*values, options.get(name)].index(options.get(name))])

height, width, n_colours = model["shape"]
above, state = np.full((1, width * n_colours), -1), np.zeros((1, of_rows["state"]["shape"][1]), dtype=np.float32)
image = []
for _ in range(height):
    condition, state = row.run(None, {"row": above, "state": state, **labels})
    codes, past = [-1], np.zeros((1, model["state"]["shape"][1]), dtype=np.float32)  # each row from its beginning
    for step in range(width * n_colours):
        inputs = {"code": np.array(codes[-1:]), "state": past, "condition": condition[:, step]}
        parameters, past = pixel.run(None, inputs)
        codes.append(int(np.argmax(parameters[0] + random.gumbel(size=parameters.shape[1]))))  # of a categorical head
    above = np.array([codes[1:]])
    image.append(above[0])

pixels = np.rint(255 * np.array(image) / (model["codec"]["n_classes"] - 1)).astype(np.uint8)
pixels = np.broadcast_to(pixels.reshape(height, width, n_colours), (height, width, 3))
Path(out).write_bytes(f"P6 {width} {height} 255\n".encode() + pixels.tobytes())
