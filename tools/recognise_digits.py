"""Ask a classifier trained on real digits whether those that a model makes are the ones that were asked for.

    python -m tools.recognise_digits runs/mnist
    python -m tools.recognise_digits runs/digits

Drawn digits or spoken ones, as the model makes them. The classifier is a small convolutional network over pixels or
log-mel frames, trained here on the official training split; how many of the official test split it recognises is
printed first. Of spoken digits every digit is asked of every speaker equally often.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wavegen
from wavegen import checkpoint, recipe
from wavegen.data import corpora, splits
from wavegen.data.images import ImageFormat
from wavegen.data.store import Store
from wavegen.data.windows import Segment
from wavegen.features.log_mel import SILENT, LogMel
from wavegen.generation.session import LoadedModel

PER_DIGIT = 100  # images
PER_VOICE = 5  # spoken digits, of each digit and speaker
SPOKEN_S = 0.6  # of each; recordings last 0.44 s in the mean
FRAMES = 64  # of a spoken digit that the classifier looks at
MAX_SHIFT = 8  # frames, by which they are moved while it trains


Options = dict[str, float | None]


class Digits(NamedTuple):
    """What a classifier looks at, (n, 1, height, width), and the digits (n,)."""

    inputs: Tensor
    digits: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--guidance", type=float)
    arguments = parser.parse_args()
    options = {"temperature": arguments.temperature, "guidance": arguments.guidance}
    model = wavegen.load(arguments.model)
    train, test = real_digits(arguments.model)
    if model.description.shape:
        classifier = trained(train, epochs=3, shift=0)
        made = draw(model, options)
    else:
        classifier = trained(train, epochs=30, shift=MAX_SHIFT)
        made = speak(model, options)
    print(f"{len(test.digits)} real ones of the test split: {share_right(classifier, test):.2%} recognised")
    print(f"{len(made.digits)} that {arguments.model} made: {share_right(classifier, made):.2%} recognised as asked")


def real_digits(model: str) -> tuple[Digits, Digits]:
    """The training and the test split of the corpus that a model was trained on."""
    loaded = checkpoint.load(Path(model)).trained
    data = recipe.parse(loaded.recipe, model).data
    store, _ = corpora.open_corpus(data)
    segments = splits.split(data, store.recordings)
    return from_segments(store, segments["train"]), from_segments(store, segments["test"])


def from_segments(store: Store, segments: list[Segment]) -> Digits:
    each = [store.samples[one.start : one.start + one.n_samples] for one in segments]
    if isinstance(store.item_format, ImageFormat):
        inputs = from_pixels(np.stack(each).reshape(len(each), store.item_format.height, store.item_format.width))
    else:
        inputs = from_sounds([samples / 32768 for samples in each], store.item_format.sample_rate)
    return Digits(inputs, torch.tensor([int(one.labels["digit"]) for one in segments]))


def draw(model: LoadedModel, options: Options) -> Digits:
    images = [model.draw(PER_DIGIT, labels={"digit": str(digit)}, seed=digit, **options) for digit in range(10)]
    return Digits(from_pixels(np.concatenate(images)[..., 0]), torch.arange(10).repeat_interleave(PER_DIGIT))


def speak(model: LoadedModel, options: Options) -> Digits:
    sounds, digits = [], []
    for voice, speaker in enumerate(model.labels["speaker"]):
        for digit in range(10):
            labels = {"digit": str(digit), "speaker": speaker}
            seed = 10 * voice + digit
            made = model.generate(SPOKEN_S, n=PER_VOICE, labels=labels, seed=seed, **options)
            sounds += list(made.samples)
            digits += [digit] * PER_VOICE
    return Digits(from_sounds(sounds, model.sample_rate), torch.tensor(digits))


def from_pixels(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255)[:, None]


def from_sounds(sounds: list[np.ndarray], rate: int) -> Tensor:
    """Their first `FRAMES` log-mel frames, each sound brought to the same peak: (n, 1, FRAMES, 40)."""
    features = LogMel(rate, n_mels=40, hop=rate // 100, n_fft=256)
    inputs = np.full((len(sounds), FRAMES, 40), SILENT, dtype=np.float32)
    for row, sound in enumerate(sounds):
        frames = features.frames(sound / max(1e-3, float(np.abs(sound).max())))[:FRAMES]
        inputs[row, : len(frames)] = frames
    return torch.from_numpy(inputs)[:, None]


def trained(digits: Digits, epochs: int, shift: int) -> nn.Module:
    """A classifier; `shift` is by how many rows its inputs are moved at most."""
    torch.manual_seed(0)
    classifier = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    classifier(digits.inputs[:1])  # makes the layer whose size depends on the inputs
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(digits.digits)).split(128):
            moved = int(torch.randint(-shift, shift + 1, ()))
            inputs = digits.inputs[chosen].roll(moved, dims=2)
            loss = F.cross_entropy(classifier(inputs), digits.digits[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


@torch.inference_mode()
def share_right(classifier: nn.Module, digits: Digits) -> float:
    found = torch.cat([classifier(some).argmax(dim=1) for some in digits.inputs.split(1000)])
    return float((found == digits.digits).double().mean())


if __name__ == "__main__":
    main()
