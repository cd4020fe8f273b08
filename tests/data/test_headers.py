"""WAV files and their kin whose header says something else than what is there."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavegen.data import audio, corpora
from wavegen.data.audio import SoundFormat
from wavegen.errors import InputError

SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 4000).astype("<i2")
PCM = SAMPLES.tobytes()


def wav(claimed: int, pcm: bytes = PCM, behind: bytes = b"") -> bytes:
    head = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", (claimed + 36) & 0xFFFFFFFF) + b"WAVEfmt " + head + b"data"
        + struct.pack("<I", claimed) + pcm + behind
    )  # fmt: skip


def rf64(claimed: int, begins: bytes = b"RF64") -> bytes:
    encoded = io.BytesIO()
    soundfile.write(encoded, SAMPLES, 8000, format="RF64", subtype="PCM_16")
    whole = bytearray(encoded.getvalue())
    at = whole.index(b"ds64") + 8
    whole[:4], whole[at : at + 24] = begins, struct.pack("<QQQ", claimed, claimed, claimed)
    return bytes(whole)


def changed(format: str, mark: bytes, at: int, to: bytes) -> bytes:
    encoded = io.BytesIO()
    soundfile.write(encoded, SAMPLES, 8000, format=format, subtype="PCM_16")
    whole = bytearray(encoded.getvalue())
    first = whole.index(mark) + at
    whole[first : first + len(to)] = to
    return bytes(whole)


def read(contents: bytes, folder: Path) -> tuple[np.ndarray, dict[str, str]]:
    """The samples, the same of a file and of bytes in memory."""
    path = folder / "x.bin"
    path.write_bytes(contents)
    facts = [audio.Facts(), audio.Facts()]
    of_path, of_bytes = (
        np.concatenate(list(audio.decode(file, 8000, one)))
        for file, one in zip((path, io.BytesIO(contents)), facts, strict=True)
    )
    np.testing.assert_array_equal(of_path, of_bytes)
    return of_path, facts[0].remarks


PLACEHOLDERS = [0, 0x7FFFF000, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x80000000, 0x80000024, 0xFFFFFFFF, 0xFFFFFFFF - 44]
OFF_BY_SOME = [len(PCM) + 36, len(PCM) + 44, len(PCM) + 1, len(PCM) - 2, len(PCM) - 10, len(PCM) // 2]


@pytest.mark.parametrize("claimed", [*PLACEHOLDERS, *OFF_BY_SOME])
def test_a_wav_file_whose_writer_did_not_know_its_length_is_read_to_its_end(tmp_path, claimed):
    samples, remarks = read(wav(claimed), tmp_path)
    np.testing.assert_array_equal(samples, SAMPLES)
    assert remarks == {
        "of untold length": f"its header claims {claimed:,} bytes of sound; all {len(PCM):,} that are there were read"
    }


@pytest.mark.parametrize("claimed", [0, 0x7FFFF000, 0x80000000, 2**63 - 1, 2**64 - 1, len(PCM) + 100])
@pytest.mark.parametrize("begins", [b"RF64", b"BW64"])
def test_so_is_a_file_with_64_bit_sizes(tmp_path, claimed, begins):
    samples, remarks = read(rf64(claimed, begins), tmp_path)
    np.testing.assert_array_equal(samples, SAMPLES)
    assert f"claims {claimed:,} bytes" in remarks["of untold length"]
    samples, remarks = read(rf64(len(PCM), begins), tmp_path)
    np.testing.assert_array_equal(samples, SAMPLES)
    assert remarks == {}


def test_so_are_aiff_caf_and_flac(tmp_path):
    for contents, is_odd in (
        (changed("AIFF", b"SSND", 4, b"\x7f\0\0\0"), True),
        (changed("AIFF", b"SSND", 4, b"\0\0\0\0"), True),
        (changed("CAF", b"data", 4, b"\xff" * 8), False),  # as its specification allows
        (changed("FLAC", b"fLaC", 22, bytes(4)), False),  # of 36 bits the lower ones; the upper are 0
    ):
        samples, remarks = read(contents, tmp_path)
        np.testing.assert_array_equal(samples, SAMPLES)
        assert bool(remarks) == is_odd


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 4) + b"INFO",
        b"LIST" + struct.pack("<I", 3) + b"abc",  # without the byte that pads it
        b"TAG" + bytes(125),
        bytes(100),
    ],
    ids=["chunk", "odd chunk", "tag", "padding"],
)
def test_what_stands_behind_the_sound_is_not_heard(tmp_path, behind):
    samples, remarks = read(wav(len(PCM), behind=behind), tmp_path)
    np.testing.assert_array_equal(samples, SAMPLES)
    assert remarks == {}


@pytest.mark.parametrize("claimed", [3 * len(PCM), 1 << 30, 0x90000000])
def test_a_file_that_was_cut_short_is_refused(tmp_path, claimed):
    with pytest.raises(InputError, match=f"cut short: {len(PCM):,} of {claimed:,} bytes of sound are there"):
        read(wav(claimed), tmp_path)
    with pytest.raises(InputError, match="cut short"):
        read(rf64(claimed), tmp_path) if claimed != 0x90000000 else read(rf64(1 << 40), tmp_path)


@pytest.mark.parametrize("behind", [b"", b"LIST" + struct.pack("<I", 4) + b"INFO"])
def test_an_empty_file_stays_empty(tmp_path, behind):
    with pytest.raises(InputError, match="no samples"):
        read(wav(0, b"", behind), tmp_path)


def test_a_recording_that_is_read_alone_is_remarked_on(tmp_path, caplog):
    (tmp_path / "x.wav").write_bytes(wav(0))
    with caplog.at_level("INFO"):
        audio.read(tmp_path / "x.wav", 8000)
    assert f"{tmp_path / 'x.wav'}: its header claims 0 bytes of sound" in caplog.text


def test_the_report_counts_and_names_them(tmp_path):
    (tmp_path / "in").mkdir()
    for number, claimed in enumerate((0, 0x7FFFF000, len(PCM))):
        (tmp_path / "in" / f"{number}.wav").write_bytes(wav(claimed))
    _, report = corpora.prepare("folder", tmp_path / "in", SoundFormat(8000))
    lines = report.lines()
    assert lines[0].endswith("0 left out, 0 clipped, 2 of untold length")
    assert "its header claims 0 bytes of sound; all 8,000 that are there were read: 0.wav" in lines
