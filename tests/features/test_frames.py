import io

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from wavegen.errors import InputError
from wavegen.features.frames import Features, make_features
from wavegen.features.log_mel import SILENT, LogMel
from wavegen.features.pitch import Pitch

FEATURES = Features(LogMel(8000, n_mels=20, hop=50, n_fft=256))
BOTH = Features(FEATURES.log_mel, Pitch(8000, hop=50))


def voice(n: int = 4000, f0: float = 125.0) -> np.ndarray:
    """Harmonics that fall by 6 dB an octave."""
    time = np.arange(n) / 8000
    return 0.2 * sum(np.sin(2 * np.pi * k * f0 * time) / k for k in range(1, 20))


def test_a_frame_is_the_bands_and_then_the_pitch():
    sound = voice()
    frames = BOTH.frames(sound)
    assert frames.shape == (80, 24) == (BOTH.n_frames(4000), BOTH.n_features)
    np.testing.assert_array_equal(frames[:, :20], FEATURES.frames(sound))
    np.testing.assert_array_equal(frames[:, 20:], BOTH.pitch.frames(sound))
    np.testing.assert_array_equal(BOTH.frames(np.zeros(500)), np.tile(BOTH.silent, (10, 1)))
    assert Features(pitch=BOTH.pitch).frames(sound).shape == (80, 4)


def test_bands_alone_are_given_the_pitch_of_the_sound_that_they_make():
    fine = Features(LogMel(16000), Pitch(16000))  # bands that tell harmonics apart
    time = np.arange(8000) / 16000
    sound = 0.2 * sum(np.sin(2 * np.pi * k * 180 * time) / k for k in range(1, 40))
    frames = fine.frames(sound)
    np.testing.assert_array_equal(fine.check(frames, "x"), frames)
    completed = fine.check(frames[:, :80], "x")
    np.testing.assert_array_equal(completed[:, :80], frames[:, :80])
    inside = slice(5, -5)
    assert (completed[inside, 81] == 1).mean() > 0.9
    assert np.median(np.abs(completed[inside, 80] - frames[inside, 80])) < 2 * np.log(2) / 1200 * 30  # 30 cents


def test_parameters_are_those_of_a_recipe():
    assert make_features(8000, {"n_mels": 20, "hop": 50, "n_fft": 256, "f_min": 0.0, "f_max": None}) == FEATURES
    pitch = {"lowest": 60, "highest": 400}
    assert make_features(8000, {"n_mels": 20, "hop": 50, "n_fft": 256, "pitch": pitch}) == BOTH
    assert make_features(8000, {"n_mels": 0, "hop": 50, "n_fft": 256, "pitch": pitch}) == Features(pitch=BOTH.pitch)
    with pytest.raises(InputError, match="no bands and no pitch"):
        make_features(8000, {"n_mels": 0, "hop": 50})


def test_frames_of_neither_shape_are_refused():
    with pytest.raises(InputError, match=r"shape \(9, 21\); the model reads \(frames, 24\), or \(frames, 20\)"):
        BOTH.check(np.zeros((9, 21)), "x")
    unvoiced_pitch = np.tile(BOTH.silent, (3, 1))
    unvoiced_pitch[1, 20] = 0.5
    with pytest.raises(InputError, match="unvoiced frames with a pitch"):
        BOTH.check(unvoiced_pitch, "x")
    assert (BOTH.silent[:20] == SILENT).all()


def test_frames_are_read_from_files_of_other_programs(tmp_path):
    frames = FEATURES.frames(np.sin(np.arange(500) / 5))
    np.save(tmp_path / "one.npy", frames.astype(np.float64))
    save_file({"frames": frames, "more": frames[:1]}, tmp_path / "two.safetensors")
    save_file({"mel": frames}, tmp_path / "three.safetensors")
    for name in ("one.npy", "two.safetensors", "three.safetensors"):
        read = FEATURES.read(tmp_path / name)
        np.testing.assert_array_equal(read, frames)
        assert read.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 7)), r"shape \(20, 7\); the model reads \(frames, 20\)"),
        (np.zeros((0, 20)), r"shape \(0, 20\)"),
        (np.zeros((2, 3, 20)), r"shape \(2, 3, 20\)"),
        (np.full((3, 20), np.nan), "NaN"),
        (np.zeros((3, 20), dtype=np.int64), "holds int64; expected floating point numbers"),
        (np.linspace(-9, 2, 60).reshape(3, 20), "spans -9 to 2; expected log-mel frames"),
        (np.full((3, 20), -80.0), "spans -80 to -80; expected log-mel frames whose silence is -1"),
        (np.array([["a"] * 20]), "floating"),
        (np.array([[object()]]), "cannot read"),
    ],
)
def test_frames_that_cannot_be_are_refused(tmp_path, array, message):
    np.save(tmp_path / "frames.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        FEATURES.read(tmp_path / "frames.npy")


def _archive(whole: bool) -> bytes:
    archive = io.BytesIO()
    np.savez(archive, frames=np.zeros((3, 20)))
    return archive.getvalue()[: None if whole else -30]


CUT_HEADER = b"\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (1000".ljust(128)


@pytest.mark.parametrize("name", ["frames.npy", "frames.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"no array", CUT_HEADER, _archive(whole=True), _archive(whole=False)])
def test_files_that_hold_no_frames_are_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot read the frames"):
        FEATURES.read(tmp_path / name)


def test_frames_on_a_scale_from_0_to_1_are_remarked_on(caplog):
    frames = FEATURES.frames(voice())
    np.testing.assert_array_equal(FEATURES.check_foreign(frames, "x"), frames)
    FEATURES.check_foreign((frames[:70] + 1) / 2, "x")  # of less than half a second nobody can tell
    assert not caplog.text
    FEATURES.check_foreign((frames + 1) / 2, "x")
    assert "x spans 0 to 0.888881, and silence is -1: these frames are of a loud noise, or" in caplog.text


def test_frames_in_bfloat16_are_read(tmp_path):
    frames = torch.from_numpy(FEATURES.frames(voice())).bfloat16()
    save_tensors({"frames": frames}, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(FEATURES.read(tmp_path / "x.safetensors"), frames.float().numpy())


def test_smoothed_frames_are_means_of_neighbours_but_for_the_voicing():
    features = make_features(8000, {"n_mels": 3, "hop": 80, "n_fft": 256, "pitch": {}})
    frames = np.zeros((5, 7), dtype=np.float32)
    frames[:, 0] = [0, 0, 4, 0, 0]
    frames[:, 3] = [0, 1, 3, 0, 0]  # the pitch
    frames[:, 4] = [-1, 1, 1, -1, -1]
    smooth = features.smoothed(frames, 1, 1)
    np.testing.assert_allclose(smooth[:, 0], [1, 2, 1])
    np.testing.assert_allclose(smooth[:, 3], [(0.5 * 1 + 0.25 * 3) / 0.75, (0.25 * 1 + 0.5 * 3) / 0.75, 0], rtol=1e-6)
    np.testing.assert_array_equal(smooth[:, 4], frames[1:4, 4])


def test_pitch_is_smoothed_with_neighbours_of_its_own():
    features = make_features(8000, {"n_mels": 3, "hop": 80, "n_fft": 256, "pitch": {}})
    frames = np.zeros((9, 7), dtype=np.float32)
    frames[:, 4] = 1
    frames[4, 0] = frames[4, 3] = 16
    smooth = features.smoothed(frames, 1, 2)
    np.testing.assert_allclose(smooth[:, 0], [0, 4, 8, 4, 0])
    np.testing.assert_allclose(smooth[:, 3], [1, 4, 6, 4, 1])
