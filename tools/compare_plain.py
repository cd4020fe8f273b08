"""Train our WaveNet and one written plainly in PyTorch for the same minutes, and compare their bits on the test split.

    python -m tools.compare_plain digits --minutes 5 --out runs/plain \
        "2e-3:training.optimizer=adamw,training.learning_rate=2e-3" "the recipe's:"

A setting is NAME:KEY=VALUE,KEY=VALUE, tried with every seed. Both networks have the recipe's sizes, see the same
windows of the same corpus, and follow the same schedule of learning rates. AdamW trains the plain one, and ours too
unless a setting leaves it the recipe's optimiser, which no repository of the plain kind has. The minutes of the plain
one are those of its steps; ours have the compilation and the validation at the end in them.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.compare_recipes import SHORT_RUN, folder_of, n_parameters, steps_within, test_bits
from wavegen import recipe, recipes
from wavegen.architectures import WaveNetArchitecture
from wavegen.codec import make_codec
from wavegen.data import corpora, splits
from wavegen.data.windows import Coder, Segment, WindowRule, Windows
from wavegen.devices import choose_device
from wavegen.evaluation.bits import label_rows
from wavegen.recipe import Recipe
from wavegen.training import loop as training
from wavegen.training.optimizers import learning_rate

TRIAL_STEPS = 12
SETTLED = 2  # steps of the trial after which speed is taken


class PlainWaveNet(nn.Module):
    """A WaveNet as most repositories have it: one-hot codes, padded convolutions over (B, channels, T), float32."""

    def __init__(self, model: WaveNetArchitecture) -> None:
        super().__init__()
        self.n_classes, self.dilations = model.n_classes, model.dilations
        kernel, residual, gate = model.kernel_size, model.residual_channels, model.gate_channels
        self.embeddings = nn.ModuleList(nn.Embedding(n + 1, model.label_channels) for n in model.labels.values())
        label_channels = model.label_channels * len(model.labels)
        self.first = nn.Conv1d(model.n_classes, residual, 1)
        self.filters, self.gates, self.residuals, self.skips = (nn.ModuleList() for _ in range(4))
        self.label_filters, self.label_gates = nn.ModuleList(), nn.ModuleList()
        for dilation in self.dilations:
            self.filters.append(nn.Conv1d(residual, gate, kernel, dilation=dilation))
            self.gates.append(nn.Conv1d(residual, gate, kernel, dilation=dilation))
            self.residuals.append(nn.Conv1d(gate, residual, 1))
            self.skips.append(nn.Conv1d(gate, model.skip_channels, 1))
            if model.labels:
                self.label_filters.append(nn.Linear(label_channels, gate, bias=False))
                self.label_gates.append(nn.Linear(label_channels, gate, bias=False))
        self.head_hidden = nn.Conv1d(model.skip_channels, model.head_channels, 1)
        self.head_out = nn.Conv1d(model.head_channels, model.n_classes, 1)

    def forward(self, codes: Tensor, labels: Sequence[Tensor]) -> Tensor:
        """Shapes: codes (B, T), labels (B,) each -> logits (B, n_classes, T), at t from the codes before t."""
        one_hot = F.one_hot(codes, self.n_classes).float().transpose(1, 2)
        x = self.first(F.pad(one_hot, (1, 0))[:, :, :-1])
        skip: Tensor | float = 0.0
        given = [table(rows) for table, rows in zip(self.embeddings, labels, strict=True)]
        for number, dilation in enumerate(self.dilations):
            past = F.pad(x, ((self.filters[number].kernel_size[0] - 1) * dilation, 0))
            filtered, gated = self.filters[number](past), self.gates[number](past)
            if given:
                filtered = filtered + self.label_filters[number](torch.cat(given, dim=1))[..., None]
                gated = gated + self.label_gates[number](torch.cat(given, dim=1))[..., None]
            z = torch.tanh(filtered) * torch.sigmoid(gated)
            skip = skip + self.skips[number](z)
            x = x + self.residuals[number](z)
        logits: Tensor = self.head_out(torch.relu(self.head_hidden(torch.relu(skip))))
        return logits


class Plain:
    """The plain network, its corpus, and the usual loop around it."""

    def __init__(self, settings: Recipe) -> None:
        _check(settings)
        self.settings, self.n_steps = settings.training, settings.training.steps
        self.codec = make_codec(settings.data.codec, settings.data.n_classes)
        store, _ = corpora.open_corpus(settings.data)
        self.segments = splits.split(settings.data, store.recordings)
        self.labels = splits.label_values(self.segments["train"])
        self.coder = Coder(store, self.codec)
        torch.manual_seed(self.settings.seed)
        self.device = choose_device("auto")
        architecture = settings.architecture({name: len(values) for name, values in self.labels.items()})
        assert isinstance(architecture, WaveNetArchitecture)  # `_check` has seen to it
        self.model = PlainWaveNet(architecture).to(self.device)
        context = architecture.receptive_field
        rule = WindowRule(
            settings.window, context, self.settings.start_share, self.settings.learn_endings,
            self.settings.label_dropout, self.settings.balance, self.settings.input_noise, self.settings.seed,
        )  # fmt: skip
        self.windows = Windows(store, self.segments["train"], self.codec, rule, self.labels)

    def train(self) -> list[float]:
        """Take the steps of the recipe, and return how long each took, s."""
        settings, took_s = self.settings, []
        optimizer = torch.optim.AdamW(
            self.model.parameters(), settings.learning_rate, settings.betas, weight_decay=settings.weight_decay
        )
        for step in range(self.n_steps):
            began = time.monotonic()
            batch = self.windows.batch(step, settings.batch_size)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, step)
            codes, counted = (torch.from_numpy(array).to(self.device) for array in (batch.codes, batch.counted))
            logits = self.model(codes, [torch.from_numpy(batch.labels[name]).to(self.device) for name in self.labels])
            loss = F.cross_entropy(logits, codes, reduction="none")[counted].mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
            optimizer.step()
            took_s.append(time.monotonic() - began)
        return took_s

    @torch.inference_mode()
    def test_bits(self) -> float:
        """Bits per sample of every recording of the test split, from its beginning."""
        total, n = 0.0, 0
        for segment in self.segments["test"]:
            bits = self._bits(segment)
            total, n = total + float(bits.double().sum()), n + len(bits)
        return total / n

    def _bits(self, segment: Segment) -> Tensor:
        assert segment.at_start, "recordings split within themselves are not for this comparison"
        codes = torch.from_numpy(self.coder.codes(segment.start, segment.n_samples))[None].to(self.device)
        rows = label_rows([segment], self.labels, self.device)
        return F.cross_entropy(self.model(codes, list(rows.values())), codes, reduction="none")[0] / np.log(2)


def _check(settings: Recipe) -> None:
    """Stop if a recipe wants what the plain network or its loop does not have."""
    model, loop = settings.architecture({}), settings.training
    assert isinstance(model, WaveNetArchitecture), "the recipe is for images"
    is_plain = model.head.lists_probabilities and model.activation == "gated" and model.residual and model.dilated
    assert is_plain and not model.dropout and not settings.features, "the recipe's network is no plain WaveNet"
    is_usual = loop.accumulate == 1 and not loop.input_noise and not loop.scheduled_sampling
    assert is_usual, "the recipe's training is not the usual loop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("setting", nargs="+")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    path = recipes.find(arguments.recipe)
    print("| setting | seed | network | parameters | steps | minutes | bits per sample, test split |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    for setting in arguments.setting:
        name, _, changes = setting.partition(":")
        for seed in range(arguments.seeds):
            chosen = [*(change for change in changes.split(",") if change), f"training.seed={seed}"]
            trial = Plain(recipe.load(path, [*chosen, *SHORT_RUN, f"training.steps={TRIAL_STEPS}"]))
            step_s = float(np.mean(trial.train()[SETTLED:]))
            n_steps = max(1, round(60 * arguments.minutes / step_s))
            plain = Plain(recipe.load(path, [*chosen, *SHORT_RUN, f"training.steps={n_steps}"]))
            minutes = sum(plain.train()) / 60
            n = sum(parameter.numel() for parameter in plain.model.parameters())
            row(name, seed, "plain", n, plain.n_steps, minutes, plain.test_bits())

            folder = folder_of(arguments.out, f"{name} {seed}")
            n_steps = steps_within(arguments.minutes, path, chosen, folder)
            began = time.monotonic()
            training.train(recipe.load(path, [*chosen, *SHORT_RUN, f"training.steps={n_steps}"]), folder)
            minutes = (time.monotonic() - began) / 60
            row(name, seed, "ours", n_parameters(folder), n_steps, minutes, test_bits(folder))


def row(setting: str, seed: int, network: str, n: int, n_steps: int, minutes: float, bits: float) -> None:
    print(f"| {setting} | {seed} | {network} | {n:,} | {n_steps} | {minutes:.1f} | {bits:.3f} |", flush=True)


if __name__ == "__main__":
    main()
