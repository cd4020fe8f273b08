"""wavegen models"""

import numpy as np
import typer

from wavegen import checkpoint
from wavegen.checkpoint import Description
from wavegen.data.audio import SoundFormat
from wavegen.data.images import ImageFormat
from wavegen.errors import InputError

from .options import Model
from .tables import Table

app = typer.Typer(name="models", no_args_is_help=True, help="Look into trained models.")


@app.command("list")
def list_models() -> None:
    """List the models that ship with wavegen; their names go wherever a MODEL is wanted.

    `wavegen models inspect` tells more of one, and whom to credit.

    Examples:
        wavegen models list
    """
    table = Table(
        "model",
        "what comes out",
        "trained on",
        "labels",
        "bits per sample, code of a frame, or dimension",
        title="Models that ship",
    )
    for name, path in checkpoint.shipped().items():
        description = checkpoint.load(path).trained.description
        table.add_row(
            name,
            description.about,
            f"{description.corpus}, {_audio_or_image_format(description)}",
            ", ".join(description.labels) or "-",
            ", ".join(f"{bits:.2f} ({split})" for split, bits in description.bits.items()),
        )
    table.show()


@app.command("export", hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def export() -> None:
    """Name the command that took its place."""
    raise InputError("models export is now `wavegen export MODEL --to safetensors OUT`")


@app.command("inspect")
def inspect(model: Model) -> None:
    """Show what a model is: sizes, receptive field, cost, corpus and bits.

    Examples:
        wavegen models inspect runs/sine
    """
    loaded = checkpoint.load(model)
    description = loaded.description
    network = description.architecture
    table = Table("", "", title=str(loaded.path), show_header=False)
    if description.about:
        table.add_row("what comes out", description.about)
    table.add_row("kind", description.kind)
    table.add_row("trained", f"{description.step:,} steps on {description.corpus}")
    bits = ", ".join(f"{bits:.3f} ({split})" for split, bits in description.bits.items()) or "unknown"
    table.add_row("bits per dimension" if description.shape else "bits per sample", bits)
    if description.precision_costs:
        costs = ", ".join(f"{cost:+.4f} bits in {name}" for name, cost in description.precision_costs.items())
        table.add_row("cost of precisions", costs)
    table.add_row("default sampling", description.make_decoding().title)
    emphasis = f", pre-emphasis {description.pre_emphasis:g}" if description.pre_emphasis else ""
    codec = f"{description.codec} codec with {description.n_classes} classes{emphasis}"
    table.add_row("format", f"{_audio_or_image_format(description)}, {codec}")
    table.add_row("parameters", f"{checkpoint.n_parameters(loaded):,}")
    if description.shape:
        n_codes = int(np.prod(description.shape))
        table.add_row("receptive field", f"{network.receptive_field // int(np.prod(description.shape[1:]))} rows")
        per = f"{network.multiply_adds:,} a code, {network.multiply_adds * n_codes / 1e9:.2f} G an image"
    else:
        rate = description.sample_rate
        table.add_row(
            "receptive field", f"{network.receptive_field} samples, {1000 * network.receptive_field / rate:.1f} ms"
        )
        per = f"{network.multiply_adds:,} a sample, {network.multiply_adds * rate / 1e9:.2f} G a second of sound"
    table.add_row("multiply-adds", per)
    for name, value in network.shown().items():
        table.add_row(name.replace("_", " "), str(value))
    pitch = description.features.get("pitch") or {}
    features = {name: value for name, value in description.features.items() if name != "pitch"}
    for name, value in [*features.items(), *((f"pitch, {name}", value) for name, value in pitch.items())]:
        table.add_row(f"features, {name}", "half the sample rate" if value is None else str(value))
    for name, values in description.labels.items():
        table.add_row(f"label {name}", ", ".join(values))
    if loaded.planner is not None:
        for title, value in _rows_of_planner(loaded.planner.description):
            table.add_row(f"planner, {title}", value)
    if description.credit:
        table.add_row("credit", description.credit)
    table.show()


def _rows_of_planner(description: Description) -> list[tuple[str, str]]:
    """What `inspect` shows of what plans the frames of a model."""
    network, rate = description.architecture, description.code_rate
    n_frames = -(-network.receptive_field // network.unit)
    return [
        ("what comes out", description.about),
        ("trained", f"{description.step:,} steps on {description.corpus}"),
        ("bits per code of a frame", ", ".join(f"{bits:.3f} ({split})" for split, bits in description.bits.items())),
        ("default sampling", description.make_decoding().title),
        ("receptive field", f"{n_frames} frames, {network.receptive_field / rate:.2f} s"),
        (
            "multiply-adds",
            f"{network.multiply_adds:,} a code, {network.multiply_adds * rate / 1e9:.2f} G a second of sound",
        ),
        *((name.replace("_", " "), str(value)) for name, value in network.shown().items()),
        *((f"label {name}", ", ".join(values)) for name, values in description.labels.items()),
    ]


def _audio_or_image_format(description: Description) -> str:
    """What a model makes, for people."""
    if not description.shape:
        return SoundFormat(description.sample_rate).title
    height, width, n_colours = description.shape
    return ImageFormat(height, width, n_colours).title
