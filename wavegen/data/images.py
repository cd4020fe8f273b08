"""Files -> pixels of one size: idx files (MNIST and its kin) and whatever Pillow reads."""

import gzip
import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from wavegen.data.item_format import Notes, Source
from wavegen.errors import InputError

SUFFIXES = frozenset(
    ".png .jpg .jpeg .jfif .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .tga .avif .jp2".split()  # noqa: SIM905
)
UNREAD_SUFFIXES = frozenset(".heic .heif .svg .jxl .psd .dng .cr2 .nef .arw .raw".split())  # noqa: SIM905
MAX_PIXELS = 100_000_000  # that a header may claim: 300 MB of colours
IDX_IMAGES, IDX_LABELS = 2051, 2049  # the first four bytes of an idx file of bytes, with three axes and with one
MAX_IDX = 1 << 31  # bytes
ORIENTATION = 0x0112  # the EXIF tag of how the camera was held


@dataclass(frozen=True)
class ImageFormat:
    """The format (item_format.py) of a corpus of images: 8 bits, `n_colours` 1 (grey) or 3 (red, green, blue).

    Images of another shape are cropped around their middle and resized. `is_binary` makes every pixel 0 or 255, the
    latter with a probability of its brightness (Salakhutdinov and Murray, ICML 2008), drawn once for all from a seed
    that is the image's name.
    """

    height: int
    width: int
    n_colours: int
    is_binary: bool = False
    file = "pixels.u8"
    dtype = np.dtype("u1")
    items = "images"
    unit = "dimension"
    suffixes = SUFFIXES
    unread_suffixes = UNREAD_SUFFIXES
    changes = ("resized", "converted", "turned upright", "cut to their first frame")

    def __post_init__(self) -> None:
        """Raises: InputError for more pixels than an image may have."""
        if self.height * self.width > MAX_PIXELS:
            raise InputError(
                f"images of {self.height:,} x {self.width:,} pixels are wanted; expected at most {MAX_PIXELS:,} pixels"
            )

    @property
    def name(self) -> str:
        return f"{self.height}x{self.width}x{self.n_colours}" + "-binary" * self.is_binary

    @property
    def title(self) -> str:
        colours = "black or white" if self.is_binary else "grey" if self.n_colours == 1 else "colour"
        return f"{self.height} x {self.width} pixels, {colours}"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.n_colours

    @property
    def facts(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "is_binary": self.is_binary}

    @property
    def description(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}

    def decode(self, name: str, file: Source, notes: Notes) -> Iterator[NDArray[np.uint8]]:
        """See item_format.py. An array (height, width) or (height, width, 3) is an image that has been read."""
        try:
            image = Image.fromarray(file) if isinstance(file, np.ndarray) else _open(file, notes)
            image = self._brought_to_colours(image, notes)
            if image.size != (self.width, self.height):
                notes.changes.append("resized")
                image = ImageOps.fit(image, (self.width, self.height), Image.Resampling.LANCZOS)
        except InputError:
            raise
        except UnidentifiedImageError as error:
            raise InputError("Pillow knows no format that begins like this") from error
        except Exception as error:  # Pillow documents none; a damaged file raises whatever its plugin meets
            raise InputError(f"Pillow cannot read it ({type(error).__name__}: {error})") from error
        pixels = np.asarray(image, dtype=np.uint8).ravel()
        if self.is_binary:
            key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype=np.uint64)
            draws = np.random.Generator(np.random.Philox(key=key)).random(len(pixels))
            pixels = np.where(draws < pixels / 255, 255, 0).astype(np.uint8)
        notes.n_values = len(pixels)
        yield pixels

    def amount(self, n_values: int) -> str:
        return f"{n_values // (self.height * self.width * self.n_colours):,} images"

    def extent(self, n_values: int) -> str:
        return f"{-(-n_values // (self.width * self.n_colours))} rows"

    def n_values(self, amount: float) -> int:
        return max(1, round(amount)) * self.height * self.width * self.n_colours

    def _brought_to_colours(self, image: Image.Image, notes: Notes) -> Image.Image:
        mode = "L" if self.n_colours == 1 else "RGB"
        if image.mode == mode:
            return image
        if "converted" not in notes.changes:
            notes.changes.append("converted")
        return image.convert(mode)


def read(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """An image file as pixels (height, width, colours).

    Raises: InputError naming the file and what is wrong with it.
    """
    try:
        return _decode(path, shape)
    except InputError as error:
        raise InputError(f"cannot read the image {path}: {error}") from error


def decode_bytes(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The bytes of an image file as pixels (height, width, colours).

    Raises: InputError saying what is wrong with it.
    """
    return _decode(io.BytesIO(data), shape)


def _decode(file: Path | IO[bytes], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    name = file.name if isinstance(file, Path) else ""
    (pixels,) = ImageFormat(*shape).decode(name, file, Notes())
    return pixels.reshape(shape)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, 1 or 3) as a PNG file."""
    encoded = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(encoded, "PNG")
    return encoded.getvalue()


def _open(file: Path | IO[bytes], notes: Notes) -> Image.Image:
    """An image file, decoded and the right way up.

    Raises: InputError if it is too large or holds no brightnesses, and whatever Pillow raises.
    """
    image = Image.open(file)
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"it claims {image.width:,} x {image.height:,} pixels; expected at most {MAX_PIXELS:,}")
    if image.mode == "F":
        raise InputError("its pixels are floating point numbers; expected 8 or 16 bits")
    if getattr(image, "n_frames", 1) > 1:
        notes.changes.append("cut to their first frame")
    image.load()
    is_wide = image.mode == "I" and image.format == "TIFF"
    if image.getexif().get(ORIENTATION, 1) != 1:
        notes.changes.append("turned upright")
    upright = ImageOps.exif_transpose(image)
    if not upright.mode.startswith("I"):
        return upright
    notes.changes.append("converted")
    return _in_eight_bits(upright, is_wide)


def _in_eight_bits(image: Image.Image, is_wide: bool) -> Image.Image:
    """An image of integers with more bits. Those of 32 bits (`is_wide`) hold what their program had: brightnesses to
    255, to 65535, or to the largest that there is."""
    deep = np.asarray(image).astype(np.float64)
    ranges = [255, 65535, 2**31 - 1] if is_wide else [65535]
    full = next(full for full in ranges if full >= deep.max(initial=0) or full == ranges[-1])
    return Image.fromarray(np.clip(np.rint(deep * (255 / full)), 0, 255).astype(np.uint8))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of bytes, packed by gzip or not: images (n, height, width) or labels (n,).

    (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".)

    Raises: InputError if it is no such file, is cut short, or claims more than it holds.
    """
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        size = path.stat().st_size
        with gzip.open(path) if is_packed else path.open("rb") as opened:
            (magic,) = struct.unpack(">I", opened.read(4))
            if magic not in (IDX_IMAGES, IDX_LABELS):
                raise InputError(f"{path} begins with {magic}; expected {IDX_IMAGES} (images) or {IDX_LABELS} (labels)")
            n_axes = magic & 0xFF
            shape = struct.unpack(f">{n_axes}I", opened.read(4 * n_axes))
            n_bytes = int(np.prod([int(length) for length in shape], dtype=object))
            # gzip packs at most about a thousand to one
            if n_bytes > MAX_IDX or n_bytes > size * (1100 if is_packed else 1):
                raise InputError(f"{path} claims {' x '.join(map(str, shape))} bytes, and is {size:,} bytes long")
            held = opened.read(n_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise InputError(f"{path} is damaged or cut short ({error})") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if len(held) != n_bytes:
        more = "more" if len(held) > n_bytes else f"{len(held):,}"
        raise InputError(f"{path} claims {n_bytes:,} bytes of pixels or labels and holds {more}")
    return np.frombuffer(held, dtype=np.uint8).reshape(shape)
