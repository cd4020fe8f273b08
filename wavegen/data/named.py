"""The corpora that wavegen knows by name: what they are, where they come from, and how their files are laid out."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen.data import sources
from wavegen.data.audio import SoundFormat
from wavegen.data.cleaning import Cleaning
from wavegen.data.download import RemoteFile
from wavegen.data.images import ImageFormat, read_idx
from wavegen.data.store import Item
from wavegen.errors import InputError
from wavegen.paths import resolved


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus that `wavegen data prepare NAME` knows.

    `item_format` is what its items are brought to unless somebody wants another. `parts` are what can be fetched, by
    name, and `default_parts` what is fetched when nothing is said.
    """

    name: str
    about: str
    item_format: SoundFormat | ImageFormat
    home: str
    parts: Mapping[str, RemoteFile]
    default_parts: tuple[str, ...]

    def items(self, source: Path) -> Iterator[Item]:
        """The corpus' items in a folder or in archives; other files are passed over.

        Raises: InputError if there are none of this layout.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class CorpusOfFiles(NamedCorpus):
    """A corpus of one file per item.

    `pattern` matches the paths of its items; its named groups become labels, but for those named in `NO_LABELS`, from
    which `subset_of` tells the official subset.
    """

    pattern: re.Pattern[str]
    example: str
    subset_of: Callable[[Mapping[str, str]], str] = lambda groups: groups.get("subset", "")

    def items(self, source: Path) -> Iterator[Item]:
        has_items = False
        for name, file, n_bytes, fault, passed_over in sources.items_in(
            source, self.item_format, lambda path: self.pattern.search(path) is not None
        ):
            # A folder inside the corpus counts with the path that leads there.
            match = self.pattern.search(f"/{resolved(source).as_posix()}/{name}" if source.is_dir() else str(name))
            if fault is not None or (passed_over is not None and match):
                yield Item(str(name), file, n_bytes, {}, "", fault, passed_over)
            elif match and passed_over is None:
                has_items = True
                groups = match.groupdict()
                labels = {key: value for key, value in groups.items() if key not in NO_LABELS}
                yield Item(str(name), file, n_bytes, labels, self.subset_of(groups))
        if not has_items:
            own = "folder" if isinstance(self.item_format, SoundFormat) else "images"
            raise InputError(
                f"{source} does not have the layout of {self.name}; expected files such as {self.example} "
                f"(for other {self.item_format.items} use recipes/{own}.yaml)"
            )


@dataclass(frozen=True)
class IdxCorpus(NamedCorpus):
    """Images and their labels in the four idx files of MNIST, packed by gzip or not; `label` is what they tell.

    The last tenth of the training images validates, but no more than `MAX_DEV`.
    """

    label: str

    def items(self, source: Path) -> Iterator[Item]:
        for subset, stem, n_images in (("train", "train", 60000), ("test", "t10k", 10000)):
            (pixels, size), (labels, _) = (
                _idx(source, f"{stem}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
            )
            if pixels is None and labels is None and subset == "test":
                continue
            if pixels is None or labels is None or pixels.ndim != 3 or labels.ndim != 1 or len(pixels) != len(labels):
                amounts = " and ".join("nothing" if part is None else f"{len(part):,}" for part in (pixels, labels))
                raise InputError(
                    f"{source} holds {amounts} as {stem}-images-idx3-ubyte and {stem}-labels-idx1-ubyte "
                    f"(packed or not); expected as many images as labels, such as {n_images:,}"
                )
            first_dev = len(pixels) - (min(MAX_DEV, len(pixels) // 10) if subset == "train" else 0)
            for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
                name, part = f"{stem}-{number:05d}", "dev" if number >= first_dev else subset
                yield Item(name, image, size // len(pixels), {self.label: str(label)}, part)


NO_LABELS = ("subset", "index", "file")
MAX_DEV = 5000


def _idx(source: Path, name: str) -> tuple[NDArray[np.uint8] | None, int]:
    """One of the files in a folder, or below it, and its size in bytes.

    Raises: InputError if there is no such folder, more than one such file, or something is wrong with it.
    """
    if not source.is_dir():
        what = "is no folder" if source.exists() else "is not there"
        raise InputError(f"{source} {what}; expected one with {name}.gz and its three companions")
    named = sorted(path for pattern in (name, f"{name}.gz") for path in source.rglob(pattern))
    files = [path for path in named if path.is_file() and not sources.is_hidden(str(path.relative_to(source)))]
    if len({path.parent for path in files}) > 1:
        raise InputError(f"{source} holds {name} more than once: {files[0]} and {files[-1]}; name the folder of one")
    return (read_idx(files[0]), files[0].stat().st_size) if files else (None, 0)


def _subset_of_digit(groups: Mapping[str, str]) -> str:
    """The authors keep indices 0 to 4 for testing; of the others we keep 5 and 6 for validation."""
    index = int(groups["index"])
    return "test" if index < 5 else "dev" if index < 7 else "train"


def _subset_of_cifar(groups: Mapping[str, str]) -> str:
    """Of the images for training one in twenty validates, chosen by its name."""
    is_chosen = hashlib.sha256(groups["file"].encode()).digest()[0] < 13
    return "dev" if groups["subset"] == "train" and is_chosen else groups["subset"]


def find_corpus(name: str) -> NamedCorpus:
    """Raises: InputError for an unknown name; it names the known ones."""
    if name in NAMED:
        return NAMED[name]
    raise InputError(
        f"unknown corpus {name!r}; known ones are {', '.join(NAMED)} "
        "(a folder of your own needs no name: see `wavegen recipes show folder`)"
    )


def _openslr(part: str, number: int, sha256: str | None) -> RemoteFile:
    return RemoteFile(f"https://www.openslr.org/resources/{number}/{part}.tar.gz", f"{part}.tar.gz", sha256)


def _librosa(original: str, name: str, sha256: str) -> RemoteFile:
    return RemoteFile(f"https://raw.githubusercontent.com/librosa/data/main/audio/{original}", name, sha256)


def _mnist(name: str, sha256: str) -> RemoteFile:
    return RemoteFile(f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}.gz", f"{name}.gz", sha256)


_MNIST = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_LIBRISPEECH = {  # sha256 as torchaudio lists them
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}

_CORPORA = (
    CorpusOfFiles(
        name="librispeech",
        about="read English speech, 1,000 hours, 16 kHz, CC BY 4.0 (Panayotov, Chen, Povey, Khudanpur, ICASSP 2015)",
        item_format=SoundFormat(16000),
        home="https://www.openslr.org/12",
        pattern=re.compile(r"(?P<subset>[^/]+)/(?P<speaker>\d+)/(?P<chapter>\d+)/(?P=speaker)-(?P=chapter)-\d+\.flac$"),
        example="train-clean-100/19/198/19-198-0000.flac",
        parts={
            **{part: _openslr(part, 12, sha256) for part, sha256 in _LIBRISPEECH.items()},
            # Mini LibriSpeech; no hash of these is published that we could have checked
            **{part: _openslr(part, 31, None) for part in ("train-clean-5", "dev-clean-2")},
        },
        default_parts=("train-clean-100", "dev-clean", "test-clean"),
    ),
    CorpusOfFiles(
        name="digits",
        about="spoken digits 0 to 9 by six speakers, 22 minutes, 8 kHz, CC BY-SA 4.0 (Free Spoken Digit Dataset, "
        "Zohar Jackson and others)",
        item_format=SoundFormat(8000),
        home="https://github.com/Jakobovski/free-spoken-digit-dataset",
        pattern=re.compile(r"(^|/)(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav$"),
        example="recordings/7_theo_12.wav",
        parts={
            "digits": RemoteFile(  # GitHub packs an archive anew for each request, so only a commit can be pinned
                "https://codeload.github.com/Jakobovski/free-spoken-digit-dataset/tar.gz/"
                "26eb9aaf76e81b692f806f9140c2d2777410d7a1",
                "free-spoken-digit-dataset.tar.gz",
                None,
            )
        },
        default_parts=("digits",),
        subset_of=_subset_of_digit,
    ),
    CorpusOfFiles(
        name="music",
        about="a piano duet, the Sugar Plum Fairy, strings and a whale, 4.6 minutes, CC BY and public domain (Kevin "
        "MacLeod; US Army Strings; US National Park Service)",
        item_format=SoundFormat(16000, Cleaning(highpass=20)),  # as in recipes/music.yaml
        home="https://github.com/librosa/data and https://incompetech.com",
        pattern=re.compile(
            r"(^|/)(?P<piece>dance-of-the-sugar-plum-fairy|gold-rush|humpback-glacier-bay|hungarian-dance-5-strings)\.(ogg|mp3)$"
        ),
        example="gold-rush.mp3",
        parts={
            "sugar-plum-fairy": _librosa(
                "Kevin_MacLeod_-_P_I_Tchaikovsky_Dance_of_the_Sugar_Plum_Fairy.hq.ogg",
                "dance-of-the-sugar-plum-fairy.ogg",
                "f062221a56a227cdb7c067cf2e6ac0e250a50012f7693ca0c8e31f05f83e49b1",
            ),
            "hungarian-dance": _librosa(
                "Hungarian_Dance_number_5_-_Allegro_in_F_sharp_minor_(string_orchestra).hq.ogg",
                "hungarian-dance-5-strings.ogg",
                "8e93ff0182a93168b15346c497b164cb49d2a97bf1e987a1149ea579e914532e",
            ),
            "humpback": _librosa(
                "glacier-bay-humpback.hq.ogg",
                "humpback-glacier-bay.ogg",
                "c3250ff526898aa5528aeb6b81a49aff58f63400ec2ddb8bcb86caf611d33144",
            ),
            "gold-rush": RemoteFile(
                "https://incompetech.com/music/royalty-free/mp3-royaltyfree/Gold%20Rush.mp3",
                "gold-rush.mp3",
                "31dbbeb836ea707d314755958d0c129498c27900f3458af3b52bcd3741bf1cda",
            ),
        },
        default_parts=("sugar-plum-fairy", "hungarian-dance", "humpback", "gold-rush"),
    ),
    IdxCorpus(
        name="mnist",
        about="handwritten digits, 70,000 images of 28 x 28 grey pixels, CC BY-SA 3.0 (LeCun, Cortes, Burges)",
        item_format=ImageFormat(28, 28, 1),
        home="http://yann.lecun.com/exdb/mnist",
        parts={name: _mnist(name, sha256) for name, sha256 in _MNIST.items()},
        default_parts=tuple(_MNIST),
        label="digit",
    ),
    CorpusOfFiles(
        name="cifar10",
        about="photographs of ten classes, 60,000 images of 32 x 32 colour pixels (Krizhevsky, 2009)",
        item_format=ImageFormat(32, 32, 3),
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
        pattern=re.compile(r"(^|/)(?P<subset>train|test)/(?P<object>[a-z]+)/(?P<file>[^/]+)\.png$"),
        example="CIFAR-10/train/cat/alley_cat_s_000003.png",
        parts={
            "cifar10": RemoteFile(  # the images as PNG files; GitHub packs an archive anew for each request
                "https://codeload.github.com/cyizhuo/CIFAR-10-dataset/tar.gz/a828d74fc38cd82a82ecfdeca6522873baf96efa",
                "cifar10.tar.gz",
                None,
            )
        },
        default_parts=("cifar10",),
        subset_of=_subset_of_cifar,
    ),
)

NAMED = {corpus.name: corpus for corpus in _CORPORA}
