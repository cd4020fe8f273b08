"""What a network's own sound that went astray is made of: what some windows begin with."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_windows import segments_of, voices
from wavegen.codec import Linear
from wavegen.data import astray, audio
from wavegen.data.windows import WindowRule, Windows
from wavegen.errors import InputError

CODEC = Linear(65536)
N = 400


def folder_of(tmp_path: Path, **sounds: np.ndarray) -> Path:
    for value, sound in sounds.items():
        (tmp_path / value).mkdir()
        audio.write(tmp_path / value / "take-1.wav", sound.astype(np.float32), 8000)
    return tmp_path


def read(folder: Path, share: float = 1.0, label: str | None = "who") -> astray.Astray:
    return astray.read(folder, share, N, CODEC, 8000, label, ["a", "b"])


def hum(n: int) -> np.ndarray:
    return 0.9 * np.sin(2 * np.pi * 200 * np.arange(n) / 8000)


def test_windows_begin_with_what_went_astray_and_count_what_comes_behind(tmp_path: Path):
    opened = voices(3000)
    segments = segments_of(opened, labels={"who": "a"})
    rule = WindowRule(1000, 100, 0.0, False, 0.0, False, 0.0, 1)
    plain = Windows(opened, segments, CODEC, rule, {"who": ["a", "b"]}).batch(0, 8)
    own = read(folder_of(tmp_path, a=hum(2000)))
    made = Windows(opened, segments, CODEC, rule, {"who": ["a", "b"]}, astray=own).batch(0, 8)
    np.testing.assert_array_equal(made.codes[:, N:], plain.codes[:, N:])  # the recording where it was
    assert not made.counted[:, :N].any() and made.counted[:, N:].all()
    sound = own.sounds["a"][0]
    for row in made.codes:
        assert any(np.array_equal(sound[end - N : end], row[:N]) for end in range(N, len(sound) + 1))


def test_it_is_left_where_it_is_nearest_to_the_recording(tmp_path: Path):
    own = read(folder_of(tmp_path, a=hum(2000)))
    random = np.random.default_rng(0)
    for shift in (0, 3, 11):
        codes = CODEC.encode(hum(4000)[shift:][:1000])
        found = own.lead_in(codes, {"who": "a"}, random)
        assert found is not None
        assert np.abs(found[-6:] - codes[N - 6 : N]).max() <= 1  # as it goes on


def test_only_its_label_and_its_share_begin_so(tmp_path: Path):
    own = read(folder_of(tmp_path, a=hum(2000)), share=0.25)
    codes, random = np.zeros(1000, dtype=np.int64), np.random.default_rng(0)
    assert own.lead_in(codes, {"who": "b"}, random) is None
    begun = [own.lead_in(codes, {"who": "a"}, random) is not None for _ in range(400)]
    assert 0.18 < np.mean(begun) < 0.32


def test_without_labels_sounds_lie_in_the_folder_itself(tmp_path: Path):
    audio.write(tmp_path / "take.wav", hum(2000).astype(np.float32), 8000)
    assert read(tmp_path, label=None).lead_in(np.zeros(1000, dtype=np.int64), {}, np.random.default_rng(0)) is not None


def test_what_is_no_such_folder_is_told(tmp_path: Path):
    with pytest.raises(InputError, match="no folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no \.wav of 0\.05 s or more, in sub-folders named as who is"):
        read(folder_of(tmp_path, a=hum(N - 1)))
    with pytest.raises(InputError, match="c is no who; expected some of a, b"):
        read(folder_of(tmp_path, c=hum(2000)))
