"""wavegen models"""

import typer
from rich.console import Console
from rich.table import Table

from wavegen import checkpoint

from .options import Model

app = typer.Typer(no_args_is_help=True, help="Look into trained models.")


@app.command("inspect")
def inspect(model: Model) -> None:
    """Show what a model is: sizes, receptive field, cost, corpus and bits.

    Examples:
        wavegen models inspect runs/sine
    """
    loaded = checkpoint.load(model)
    described = loaded.description
    size = checkpoint.measure(loaded)
    rate = described.sample_rate
    table = Table("", "", title=str(loaded.path), show_header=False)
    table.add_row("kind", described.kind)
    table.add_row("trained", f"{described.step:,} steps on {described.corpus}")
    table.add_row("bits per sample", ", ".join(f"{b:.3f} ({name})" for name, b in described.bits.items()) or "unknown")
    table.add_row("sound", f"{rate} Hz, {described.codec} codec with {described.n_classes} classes")
    table.add_row("parameters", f"{size.n_parameters:,}")
    table.add_row("receptive field", f"{size.receptive_field} samples, {1000 * size.receptive_field / rate:.1f} ms")
    table.add_row(
        "multiply-adds",
        f"{size.multiply_adds:,} a sample, {size.multiply_adds * rate / 1e9:.2f} G a second of sound",
    )
    for name, value in described.architecture.items():
        if name not in ("n_classes", "labels"):
            table.add_row(name.replace("_", " "), str(value))
    for name, values in described.labels.items():
        table.add_row(f"label {name}", ", ".join(values))
    if described.credit:
        table.add_row("credit", described.credit)
    Console(markup=False).print(table)
