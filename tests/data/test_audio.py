import io

import numpy as np
import pytest
import soundfile

from wavegen.data import audio
from wavegen.errors import InputError

RATE = 8000


def tone(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def decode(file, rate: int = RATE) -> tuple[np.ndarray, audio.Facts]:
    facts = audio.Facts()
    return np.concatenate(list(audio.decode(file, rate, facts))), facts


def test_sixteen_bit_mono_at_the_wanted_rate_passes_through_unchanged(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 600_000).astype(np.int16)
    soundfile.write(tmp_path / "x.flac", samples, RATE)
    decoded, facts = decode(tmp_path / "x.flac")
    np.testing.assert_array_equal(decoded, samples)
    assert (facts.sample_rate, facts.n_channels, facts.n_samples, facts.n_clipped) == (RATE, 1, 600_000, 0)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64"])
def test_every_format_of_libsndfile_is_read(tmp_path, suffix):
    assert f".{suffix}" in audio.SUFFIXES
    soundfile.write(tmp_path / f"x.{suffix}", tone(), RATE)
    decoded, _ = decode(tmp_path / f"x.{suffix}")
    n = min(len(decoded), RATE)
    assert abs(len(decoded) - RATE) < 2500  # mp3 pads
    spectrum = np.abs(np.fft.rfft(decoded[:n] * np.hanning(n)))
    assert abs(spectrum.argmax() * RATE / n - 440) < 2


@pytest.mark.parametrize("rate", [4000, 11025, 16000, 44100])
def test_other_rates_are_resampled(tmp_path, rate):
    soundfile.write(tmp_path / "x.wav", tone(2, rate), rate)
    decoded, _ = decode(tmp_path / "x.wav")
    assert abs(len(decoded) - 2 * RATE) <= 1
    middle = decoded[RATE // 2 : -RATE // 2] / 32768
    expected = tone(2)[RATE // 2 : -RATE // 2][: len(middle)]
    assert np.abs(middle[: len(expected)] - expected).max() < 2e-3


def test_channels_are_averaged(tmp_path):
    left = tone()
    soundfile.write(tmp_path / "x.wav", np.stack([left, -left / 2], axis=1), RATE, subtype="FLOAT")
    decoded, facts = decode(tmp_path / "x.wav")
    np.testing.assert_allclose(decoded / 32768, left / 4, atol=1 / 32768)
    assert facts.n_channels == 2


def test_sound_beyond_full_scale_is_clipped_and_counted(tmp_path):
    loud = 3 * tone()
    soundfile.write(tmp_path / "x.wav", loud, RATE, subtype="FLOAT")
    decoded, facts = decode(tmp_path / "x.wav")
    assert facts.n_clipped == np.count_nonzero(np.abs(loud) > 1 + 1e-4)
    assert decoded.max() == 32767
    assert decoded.min() == -32768


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_is_refused(tmp_path, value):
    soundfile.write(tmp_path / "x.wav", np.array([0.0, value]), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN or infinity"):
        decode(tmp_path / "x.wav")


def test_empty_and_foreign_files_are_refused(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    (tmp_path / "text.wav").write_text("not a sound at all")
    (tmp_path / "nothing.wav").touch()
    for name, words in {"empty": "no samples", "text": "cannot read", "nothing": "cannot read"}.items():
        with pytest.raises(InputError, match=words):
            decode(tmp_path / f"{name}.wav")


def test_samples_without_a_header_are_refused(tmp_path):
    (tmp_path / "x.raw").write_bytes(bytes(1000))
    with pytest.raises(InputError, match="samples without a header do not tell their rate"):
        decode(tmp_path / "x.raw")


def test_absurd_rates_are_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(100), 1)
    with pytest.raises(InputError, match="sample rate is 1 Hz"):
        decode(tmp_path / "x.wav")


def test_recordings_are_read_from_memory_too():
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE, format="FLAC")
    file.seek(0)
    decoded, _ = decode(file)
    np.testing.assert_allclose(decoded / 32768, tone(), atol=1 / 32768)


def test_written_samples_are_the_nearest_and_what_16_bits_hold_survives(tmp_path):
    audio.write(tmp_path / "x.wav", np.array([2.8, -2.8, 100.6, -40000, 40000], dtype=np.float32) / 32768, RATE)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "x.wav", dtype="int16")[0], [3, -3, 101, -32768, 32767])


def test_written_sound_reads_back(tmp_path):
    audio.write(tmp_path / "new" / "x.wav", tone().astype(np.float32), RATE)
    np.testing.assert_allclose(audio.read(tmp_path / "new" / "x.wav", RATE), tone(), atol=1 / 32768)
    with pytest.raises(InputError, match=r"cannot read the recording .*y\.wav"):
        audio.read(tmp_path / "y.wav", RATE)


def wav_bytes(n: int = 1000, **kinds: str) -> bytes:
    encoded = io.BytesIO()
    soundfile.write(encoded, np.linspace(-0.5, 0.5, n), 8000, format=kinds.pop("format", "WAV"), **kinds)
    return encoded.getvalue()


@pytest.mark.parametrize(("format", "endian"), [("WAV", "FILE"), ("WAV", "BIG"), ("AIFF", "FILE"), ("FLAC", "FILE")])
def test_a_recording_that_was_cut_short_is_refused_with_what_is_there(tmp_path, format, endian):
    whole = wav_bytes(20_000, format=format, endian=endian)
    path = tmp_path / "x.bin"
    path.write_bytes(whole)
    assert sum(len(block) for block in audio.decode(path, 8000, audio.Facts())) == 20_000
    path.write_bytes(whole[: len(whole) // 2])
    for file in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(InputError, match=r"cut short|cannot (decode|read)"):
            list(audio.decode(file, 8000, audio.Facts()))


def test_a_length_that_a_streaming_program_left_open_is_accepted(tmp_path):
    whole = bytearray(wav_bytes())
    at = whole.index(b"data") + 4
    whole[at : at + 4] = b"\xff" * 4
    (tmp_path / "x.wav").write_bytes(whole)
    assert sum(len(block) for block in audio.decode(tmp_path / "x.wav", 8000, audio.Facts())) == 1000


@pytest.mark.parametrize(("offset", "what"), [(22, "Channel count is zero"), (24, "sample rate")])
def test_a_header_without_channels_or_rate_is_refused(tmp_path, offset, what):
    whole = bytearray(wav_bytes())
    whole[offset : offset + 2] = b"\0\0"
    (tmp_path / "x.wav").write_bytes(whole)
    with pytest.raises(InputError, match=what):
        list(audio.decode(tmp_path / "x.wav", 8000, audio.Facts()))


def test_a_recording_that_no_wav_file_can_hold_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(b"a take")
    with (
        pytest.raises(InputError, match="as a WAV file of 1025 channels at 8000 Hz"),
        audio.recording(path, 8000, 1025),
    ):
        pass
    assert path.read_bytes() == b"a take"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_written_block_by_block_is_the_one_that_is_written_whole(tmp_path):
    waveform = np.random.default_rng(0).uniform(-1.1, 1.1, 5001).astype(np.float32)
    audio.write(tmp_path / "whole.wav", waveform, 8000)
    with audio.writing(tmp_path / "blocks.wav", 8000) as write:
        for block in np.array_split(waveform, 7):
            write(block)
        assert not (tmp_path / "blocks.wav").exists()
    assert (tmp_path / "blocks.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()
    with pytest.raises(RuntimeError), audio.writing(tmp_path / "half.wav", 8000) as write:
        write(waveform)
        raise RuntimeError
    assert not list(tmp_path.glob("*half*"))
