"""Images: idx files, every kind of picture, and folders of them."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REAL_DATA, write_images
from wavegen.codec import Linear
from wavegen.data import corpora, images, splits, store
from wavegen.data.images import ImageFormat, read_idx
from wavegen.data.item_format import Notes
from wavegen.data.windows import Coder, WindowRule, Windows
from wavegen.errors import InputError
from wavegen.recipe import Cifar10Data, ImageFolderData, MnistData


def write_idx(path: Path, array: np.ndarray, magic: int | None = None, shape=None) -> None:
    """As MNIST comes: packed if the name says so."""
    magic = (2051 if array.ndim == 3 else 2049) if magic is None else magic
    raw = struct.pack(f">{1 + array.ndim}I", magic, *(shape or array.shape)) + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def write_mnist(folder: Path, n: int = 40, packed: bool = True, shape=(5, 4)) -> np.ndarray:
    """A corpus in the layout of MNIST; returns the training images."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, *shape))
    for stem in ("train", "t10k"):
        ending = ".gz" if packed else ""
        write_idx(folder / f"{stem}-images-idx3-ubyte{ending}", pixels)
        write_idx(folder / f"{stem}-labels-idx1-ubyte{ending}", np.arange(n) % 10)
    return pixels


def mnist(source: Path, **changes) -> MnistData:
    return MnistData(**{"corpus": "mnist", "source": source, "size": (5, 4), **changes})


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_become_codes_with_their_labels(tmp_path, packed):
    pixels = write_mnist(tmp_path / "in", packed=packed)
    data = mnist(tmp_path / "in", labels=["digit"])
    opened, report = corpora.open_corpus(data)
    assert report.lines()[0].startswith("80 images; 0 resized")
    segments = splits.split(data, opened.recordings)
    assert {name: len(part) for name, part in segments.items()} == {"train": 36, "validation": 4, "test": 40}
    assert splits.label_values(segments["train"]) == {"digit": [str(digit) for digit in range(10)]}
    coder = Coder(opened, Linear(256))
    for number, segment in enumerate(segments["train"]):
        np.testing.assert_array_equal(coder.codes(segment.start, 20), pixels[number].ravel())
        assert segment.labels == {"digit": str(number % 10)}


EIGHT = np.zeros((2, 2, 2))
HEADER = struct.pack(">4I", 2051, 9, 9, 9)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: write_idx(path, EIGHT, magic=7), "begins with 7; expected 2051"),
        (lambda path: write_idx(path, EIGHT, shape=(3, 2, 2)), "claims 12 bytes of pixels or labels and holds 8"),
        (lambda path: write_idx(path, EIGHT, shape=(1, 2, 2)), "claims 4 bytes of pixels or labels and holds more"),
        (lambda path: write_idx(path, EIGHT, shape=(60000, 60000, 60000)), "claims 60000 x 60000 x 60000 bytes"),
        (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(20)), "is damaged or cut short"),
        (lambda path: path.write_bytes(gzip.compress(HEADER + bytes(729))[:-12]), "cut short"),
        (lambda path: path.write_bytes(b"ab"), "is damaged or cut short"),
    ],
)
def test_a_bad_idx_file_is_refused(tmp_path, write, words):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write(path)
    with pytest.raises(InputError, match=words):
        read_idx(path)


def test_images_and_labels_that_do_not_match_are_refused(tmp_path):
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(39))
    with pytest.raises(InputError, match="holds 40 and 39 as train-images-idx3-ubyte and train-labels"):
        corpora.open_corpus(mnist(tmp_path))
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="holds 40 and nothing"):
        corpora.open_corpus(mnist(tmp_path))
    with pytest.raises(InputError, match="is no folder; expected one with train-images-idx3-ubyte"):
        corpora.open_corpus(mnist(tmp_path / "t10k-labels-idx1-ubyte.gz"))


def test_two_corpora_below_one_folder_are_not_mixed_up(tmp_path):
    for name in ("digits", ".hidden"):
        write_mnist(tmp_path / name)
    corpora.open_corpus(mnist(tmp_path))
    write_mnist(tmp_path / "clothes")
    with pytest.raises(InputError, match="holds train-images-idx3-ubyte more than once"):
        corpora.open_corpus(mnist(tmp_path))


def test_binary_pixels_are_drawn_once_and_as_often_white_as_they_are_bright(tmp_path):
    pixels = write_mnist(tmp_path / "in", n=3000)
    data = mnist(tmp_path / "in", is_binary=True, n_classes=2)
    opened, _ = corpora.open_corpus(data)
    assert set(np.unique(opened.samples)) == {0, 255}
    drawn = Coder(opened, Linear(2)).codes(0, 3000 * 20).reshape(3000, 20)
    # The standard deviation of the mean of 60,000 draws is 0.002.
    assert drawn.mean() == pytest.approx(pixels.mean() / 255, abs=0.01)
    assert drawn[pixels.reshape(3000, 20) == 255].all()
    assert not drawn[pixels.reshape(3000, 20) == 0].any()
    (other,) = (folder for folder, _ in store.prepared("mnist"))
    assert other.name.startswith("mnist-5x4x1-binary-")
    item_format = ImageFormat(5, 4, 1, is_binary=True)
    again, differently = (
        next(item_format.decode(name, pixels[0].astype(np.uint8), Notes())) for name in ("train-00000", "train-00001")
    )
    np.testing.assert_array_equal(again, opened.samples[:20])
    assert (again != differently).any()


def test_another_form_is_prepared_from_where_the_first_came(tmp_path):
    write_mnist(tmp_path / "in")
    corpora.prepare("mnist", tmp_path / "in", ImageFormat(5, 4, 1))
    opened, report = corpora.open_corpus(mnist(None, size=(3, 3)))
    assert report.changed["resized"] == 80
    assert len(opened.samples) == 80 * 9
    assert len(store.prepared("mnist")) == 2


def save(path: Path, mode: str, size=(8, 8), **options) -> Path:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 65536, (size[1], size[0]), dtype=np.uint16))
    else:
        image = image.convert(mode)
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "changes"),
    [
        ("rgb.png", "RGB", []),
        ("grey.png", "L", ["converted"]),
        ("palette.gif", "P", ["converted"]),
        ("alpha.png", "RGBA", ["converted"]),
        ("cmyk.jpg", "CMYK", ["converted"]),
        ("deep.png", "I;16", ["converted"]),
        ("bits.png", "1", ["converted"]),
        ("small.bmp", "RGB", []),
    ],
)
def test_every_kind_of_picture_becomes_colours(tmp_path, name, mode, changes):
    notes = Notes()
    (pixels,) = ImageFormat(8, 8, 3).decode(name, save(tmp_path / name, mode), notes)
    assert notes.changes == changes
    assert pixels.shape == (192,)
    assert len(np.unique(pixels)) > 1


def test_a_picture_that_cannot_become_grey_is_told(tmp_path):
    Image.new("LAB", (4, 4)).save(tmp_path / "x.tiff")
    with pytest.raises(InputError, match=r"x\.tiff: Pillow cannot read it"):
        images.read(tmp_path / "x.tiff", (4, 4, 1))


def test_sixteen_bits_keep_their_brightness(tmp_path):
    deep = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    assert images.read(tmp_path / "x.png", (1, 3, 1)).ravel().tolist() == [0, 100, 255]


def test_an_image_held_sideways_is_turned_and_one_that_moves_is_cut(tmp_path):
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    notes = Notes()
    path = save(tmp_path / "sideways.jpg", "RGB", (8, 4), exif=exif.tobytes())
    (pixels,) = ImageFormat(8, 4, 3).decode("sideways.jpg", path, notes)
    assert notes.changes == ["turned upright"]
    assert len(pixels) == 96
    frames = [Image.fromarray(np.full((8, 8), shade, dtype=np.uint8)) for shade in (0, 255)]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    notes = Notes()
    (pixels,) = ImageFormat(8, 8, 1).decode("moves.gif", tmp_path / "moves.gif", notes)
    assert "cut to their first frame" in notes.changes
    assert not pixels.any()


def test_a_folder_of_everything_prepares_and_names_what_is_bad(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "in", n=12)
    save(folder / "other size.png", "RGB", (30, 17))
    whole = (folder / "other size.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no image")
    (folder / "empty.jpg").touch()
    strips = struct.pack("<HH", 273, 4), struct.pack("<HH", 273, 2)  # where they are: as numbers, as text
    lost = save(folder / "lost.tiff", "RGB", (8, 6))
    lost.write_bytes(lost.read_bytes().replace(*strips))
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(folder / "floating.tiff")
    (folder / "nothing there.png").symlink_to(folder / "gone")
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    save(folder / "vast.png", "RGB", (40, 40))
    bad = {
        "cut.png": "Pillow cannot read it", "text.png": "Pillow knows no format", "empty.jpg": "Pillow knows no format",
        "lost.tiff": "Pillow cannot read it (TypeError", "floating.tiff": "floating point",
        "nothing there.png": "link", "vast.png": "claims 40 x 40 pixels",
    }  # fmt: skip
    path, report = corpora.prepare("images", folder, ImageFormat(8, 6, 3))
    assert set(report.left_out) == set(bad)
    for name, word in bad.items():
        assert word in report.left_out[name], (name, report.left_out[name])
    assert report.changed["resized"] == 1
    opened = store.load(path)
    assert len(opened.recordings) == 13
    assert {recording.labels.get("folder") for recording in opened.recordings} == {"dark", "light", None}
    data = ImageFolderData(corpus="images", source=folder, size=(8, 6), colours="rgb", labels_from_folders="kind")
    assert splits.label_values(splits.split(data, opened.recordings)["train"]) == {"kind": ["dark", "light"]}


def test_a_form_of_too_many_pixels_is_refused():
    with pytest.raises(InputError, match="60,000 x 60,000 pixels are wanted; expected at most 100,000,000"):
        ImageFormat(60000, 60000, 1)


def test_mirrored_windows_are_whole_images_the_right_way_or_the_other(tmp_path):
    folder = write_images(tmp_path / "in", n=12)
    data = ImageFolderData(corpus="images", source=folder, size=(8, 6), colours="rgb")
    opened, _ = corpora.open_corpus(data)
    segments = splits.split(data, opened.recordings)["train"]
    rule = WindowRule(8 * 6 * 3, 0, 0.1, False, 0.0, False, 0.0, 0, (8, 6, 3))
    batch = Windows(opened, segments, Linear(256), rule, {}).batch(0, 64)
    assert batch.counted.all()
    known = {segment.name: opened.samples[segment.start :][: 8 * 6 * 3] for segment in segments}
    n_mirrored = 0
    for codes, origin in zip(batch.codes, batch.origins, strict=True):
        image = known[origin.removesuffix(" from sample 0")].reshape(8, 6, 3)
        is_mirrored = (codes != image.ravel()).any()
        np.testing.assert_array_equal(codes.reshape(8, 6, 3), image[:, ::-1] if is_mirrored else image)
        n_mirrored += is_mirrored
    assert 16 < n_mirrored < 48


@pytest.mark.exhaustive
@pytest.mark.skipif(not (REAL_DATA / "mnist").exists(), reason="no shared data here")
def test_the_real_mnist_prepares_whole():
    path, report = corpora.prepare("mnist", REAL_DATA / "mnist", ImageFormat(28, 28, 1))
    assert (report.n_recordings, report.left_out) == (70_000, {})
    data = MnistData(corpus="mnist", labels=["digit"])
    segments = splits.split(data, store.load(path).recordings)
    assert {name: len(part) for name, part in segments.items()} == {"train": 55000, "validation": 5000, "test": 10000}


@pytest.mark.exhaustive
@pytest.mark.skipif(not (REAL_DATA / "cifar10").exists(), reason="no shared data here")
def test_the_real_cifar10_prepares_whole():
    path, report = corpora.prepare("cifar10", REAL_DATA / "cifar10", ImageFormat(32, 32, 3))
    assert (report.n_recordings, report.left_out) == (30_000, {})
    data = Cifar10Data(corpus="cifar10", labels=["object"])
    segments = splits.split(data, store.load(path).recordings)
    assert len(segments["test"]) == 10_000
    assert 900 < len(segments["validation"]) < 1100
    assert len(splits.label_values(segments["train"])["object"]) == 10


@pytest.mark.parametrize("full", [255, 65535, 2**31 - 1])
def test_a_tiff_of_32_bits_keeps_its_brightness_whatever_its_program_called_white(tmp_path, full):
    values = np.array([[0, full // 2, full, -5]], dtype=np.int32)
    Image.fromarray(values).save(tmp_path / "x.tiff")
    pixels = images.read(tmp_path / "x.tiff", (1, 4, 1)).ravel()
    np.testing.assert_allclose(pixels, [0, 255 / 2, 255, 0], atol=1)


def test_dark_images_of_16_bits_stay_dark(tmp_path):
    Image.fromarray(np.full((4, 4), 200, dtype=np.uint16)).save(tmp_path / "x.png")
    assert images.read(tmp_path / "x.png", (4, 4, 1)).max() == 1
