"""What `generate` and `play` do alike: load a model, set up an engine, and say what is about to sound."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen import checkpoint, conditioning
from wavegen.checkpoint import Description
from wavegen.codec import Codec
from wavegen.engines import make_engine
from wavegen.engines.base import Engine
from wavegen.errors import InputError
from wavegen.generation import generate
from wavegen.progress import say
from wavegen.sampling import Decoding

from .options import parse_labels


class Session(NamedTuple):
    """A model ready to sound."""

    description: Description
    engine: Engine
    codec: Codec
    decoding: Decoding
    condition: NDArray[np.float32] | None
    prime: NDArray[np.int64] | None
    seed: int

    def blocks(self, n_samples: int | None, blocksize: int) -> Iterator[NDArray[np.float32]]:
        """Waveforms (n_streams, at most blocksize), endless if n_samples is None."""
        for codes in generate(
            self.engine,
            n_samples,
            seed=self.seed,
            decoding=self.decoding,
            condition=self.condition,
            prime=self.prime,
            blocksize=blocksize,
        ):
            yield self.codec.decode(codes)


def open_session(
    model: Path,
    *,
    engine: str,
    device: str,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    labels: list[str] | None,
    prime: Path | None,
    n_streams: int = 1,
) -> Session:
    """Load a model and everything the options ask for.

    Raises: InputError for whatever does not fit the model; nothing has been written by then.
    """
    loaded = checkpoint.load(model)
    described = loaded.description
    codec = described.make_codec()
    decoding = described.make_decoding(temperature=temperature, top_k=top_k, top_p=top_p)
    rows = conditioning.label_indices(described.labels, parse_labels(labels))
    condition = None
    if described.labels:
        n_layers = described.architecture["n_blocks"] * described.architecture["layers_per_block"]
        condition = conditioning.project_labels(loaded.weights, list(described.labels), [rows] * n_streams, n_layers)
    prime_codes = None
    if prime is not None:
        from wavegen.data import audio

        if not prime.is_file():
            raise InputError(f"there is no recording {prime} to continue")
        prime_codes = codec.encode(audio.read(prime, described.sample_rate))
    seed = secrets.randbelow(2**32) if seed is None else seed
    engine_name, built = make_engine(engine, loaded, n_streams, device)
    say(
        f"{loaded.path}: {described.kind}, {described.sample_rate} Hz, engine {engine_name}, "
        f"temperature {decoding.temperature:g}, seed {seed}"
    )
    return Session(described, built, codec, decoding, condition, prime_codes, seed)
