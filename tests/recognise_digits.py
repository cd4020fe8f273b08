"""Ask a classifier trained on real digits whether those that a model draws are the ones that were asked for.

    python -m tests.recognise_digits runs/mnist --from MNIST_FOLDER

The classifier is a small convolutional network, trained here on MNIST's official training images; its accuracy on the
official test images is printed first. Then a hundred images of each digit are drawn.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wavegen
from wavegen.data.images import read_idx

PER_DIGIT = 100
EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--temperature", type=float, default=None)
    arguments = parser.parse_args()
    classifier = trained(*real(arguments.source, "train"))
    pixels, labels = real(arguments.source, "t10k")
    print(f"real test images: {share_right(classifier, pixels, labels):.2%} recognised")
    model = wavegen.load(arguments.model)
    digits = [
        model.draw(PER_DIGIT, labels={"digit": str(digit)}, seed=digit, temperature=arguments.temperature)
        for digit in range(10)
    ]
    drawn = as_inputs(np.concatenate(digits)[..., 0])
    asked = torch.arange(10).repeat_interleave(PER_DIGIT)
    print(f"{len(drawn)} drawn images: {share_right(classifier, drawn, asked):.2%} recognised as asked")


def real(source: Path, stem: str) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) in [0, 1] and their digits (n,)."""
    pixels, labels = (read_idx(source / f"{stem}-{kind}.gz") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    return as_inputs(pixels), torch.from_numpy(labels.astype(np.int64))


def as_inputs(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255)[:, None]


def trained(pixels: Tensor, labels: Tensor) -> nn.Module:
    torch.manual_seed(0)
    classifier = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(pixels)).split(128):
            loss = F.cross_entropy(classifier(pixels[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


@torch.inference_mode()
def share_right(classifier: nn.Module, pixels: Tensor, labels: Tensor) -> float:
    found = torch.cat([classifier(some).argmax(dim=1) for some in pixels.split(1000)])
    return float((found == labels).double().mean())


if __name__ == "__main__":
    main()
