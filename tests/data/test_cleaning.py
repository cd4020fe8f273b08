"""What a recipe may have done to recordings before they are stored."""

import numpy as np
import pytest
import soundfile

from wavegen.data import audio, corpora, store
from wavegen.data.audio import SoundFormat
from wavegen.data.cleaning import Cleaning, high_passed, without
from wavegen.errors import InputError

RATE = 8000
RANDOM = np.random.default_rng(0)


def sine(hz: float, seconds: float, amplitude: float = 0.4) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def noise(seconds: float, level: float) -> np.ndarray:
    return level * np.random.default_rng(1).standard_normal(round(seconds * RATE))


def cut_up(sound: np.ndarray) -> list[np.ndarray]:
    return np.split(sound, np.sort(RANDOM.integers(0, len(sound) + 1, 7)))


def cleaned(sound: np.ndarray, tmp_path, **keys) -> tuple[np.ndarray, audio.Facts]:
    soundfile.write(tmp_path / "x.wav", sound, RATE, subtype="FLOAT")
    facts = audio.Facts()
    blocks = list(audio.decode(tmp_path / "x.wav", RATE, facts, Cleaning(**keys)))
    return np.concatenate(blocks) / 32768, facts


@pytest.mark.parametrize(("hz", "expected_db"), [(5, -40), (10, -40), (20, -6.0), (40, 0.0), (440, 0.0)])
def test_a_high_pass_takes_what_lies_below_and_an_offset_with_it(hz, expected_db):
    passed = np.concatenate(list(high_passed(cut_up(sine(hz, 4) + 0.36), 20, RATE)))
    assert len(passed) == 4 * RATE
    inside = passed[RATE:-RATE]
    assert abs(inside.mean()) < 1e-9
    level = 10 * np.log10(np.mean(inside**2) / (0.4**2 / 2))
    assert level < expected_db if hz < 20 else level == pytest.approx(expected_db, abs=0.05)


def test_a_high_pass_delays_nothing_and_begins_without_a_step():
    click = np.zeros(4000)
    click[1234] = 1
    assert np.concatenate(list(high_passed([click], 20, RATE))).argmax() == 1234
    for n in (1, 2, 50, 799, 801, 1600, 1601, 5000):
        flat = np.concatenate(list(high_passed(cut_up(np.full(n, 0.36)), 20, RATE)))
        assert len(flat) == n
        assert np.abs(flat).max() < 1e-9


def test_a_high_pass_makes_the_same_of_any_blocks():
    sound = RANDOM.standard_normal(9000)
    whole = np.concatenate(list(high_passed([sound], 30, RATE)))
    np.testing.assert_allclose(np.concatenate(list(high_passed(cut_up(sound), 30, RATE))), whole, atol=1e-12)


def test_a_cut_is_cross_faded_and_makes_the_same_of_any_blocks():
    sound = RANDOM.standard_normal(1000)
    cuts = [(0, 100), (300, 420), (900, 1000)]
    expected = np.concatenate([sound[0:20], sound[100:300], sound[300:320], sound[420:900], sound[900:920]])
    for first, at in ((80, 0), (400, 220), (980, 720)):
        weight = np.arange(1, 21) / 21
        before = expected[at : at + 20]
        expected[at : at + 20] = before * (1 - weight) + sound[first : first + 20] * weight
    for blocks in ([sound], cut_up(sound), np.split(sound, 1000)):
        np.testing.assert_allclose(np.concatenate(list(without(blocks, cuts, 20))), expected, atol=1e-12)


def test_long_pauses_are_shortened_to_what_is_asked_and_the_rest_stays(tmp_path):
    hum = noise(6.2, 0.001)  # a room, 49 dB below
    hum[RATE : 2 * RATE] += sine(300, 1)
    hum[5 * RATE : 6 * RATE] += sine(500, 1)
    hum[6 * RATE :] = 0
    shorter, facts = cleaned(hum, tmp_path, longest_pause=0.3)
    assert facts.changes == ["shortened in their pauses"]
    assert len(shorter) == pytest.approx((0.3 + 1 + 0.3 + 1 + 0.2) * RATE, abs=0.02 * RATE)
    np.testing.assert_allclose(shorter[-round(1.1 * RATE) :], hum[-round(1.1 * RATE) :], atol=1e-4)
    assert np.abs(np.diff(shorter[round(1.35 * RATE) : round(1.5 * RATE)])).max() < 0.01  # no click where it was cut
    same, facts = cleaned(hum, tmp_path, longest_pause=3.0)
    assert (len(same), facts.changes) == (len(hum), [])


@pytest.mark.parametrize("level", [1.0, 0.01])
def test_silence_at_the_ends_goes_however_loud_the_recording_is(tmp_path, level):
    sound = noise(4, 0.001)
    sound[RATE : 2 * RATE] += sine(300, 1)
    trimmed, facts = cleaned(level * sound, tmp_path, trim_silence=True)
    assert facts.changes == ["trimmed"]
    assert len(trimmed) == pytest.approx(1.1 * RATE, abs=0.02 * RATE)  # 50 ms stay at either end
    pauses, facts = cleaned(np.concatenate([sound, sound]), tmp_path, trim_silence=True, longest_pause=0.5)
    assert facts.changes == ["trimmed", "shortened in their pauses"]
    assert len(pauses) == pytest.approx(2.6 * RATE, abs=0.03 * RATE)


def test_digital_silence_and_steady_sound_are_not_cut(tmp_path):
    for sound in (np.zeros(8000), sine(300, 1), noise(1, 0.001)):
        same, facts = cleaned(sound, tmp_path, trim_silence=True, longest_pause=0.1)
        assert (len(same), facts.changes) == (len(sound), [])


@pytest.mark.parametrize("peak", [3.0, 32767.0, 0.01])
def test_a_recording_is_brought_to_full_scale_by_its_peak(tmp_path, peak):
    loud, facts = cleaned(sine(300, 1, peak), tmp_path, normalize="peak")
    np.testing.assert_allclose(loud, sine(300, 1, 32767 / 32768) / np.abs(sine(300, 1, 1)).max(), atol=1e-4)
    assert (facts.n_clipped, facts.changes) == (0, ["brought to full scale"])
    silent, _ = cleaned(np.zeros(100), tmp_path, normalize="peak")
    assert not silent.any()


def test_floats_on_the_scale_of_integers_are_named(tmp_path):
    with pytest.raises(InputError, match=r"samples reach 32,767 where full scale is 1.*data\.normalize: peak"):
        cleaned(sine(300, 1, 32767), tmp_path)
    with pytest.raises(InputError, match=r"samples reach 3\.0\d+e\+38 where full scale is 1"):
        cleaned(np.tile([3e38, -1e38], 50), tmp_path)
    click = sine(300, 1)
    click[100] = 1e30
    assert cleaned(click, tmp_path)[1].n_clipped == 1


def test_channels_in_opposite_phase_do_not_cancel(tmp_path):
    left = np.concatenate([np.zeros(300_000), sine(300, 1)])  # silence first, longer than a block
    for right, is_opposite in ((-left, True), (-0.9 * left, True), (-0.5 * left, False), (0 * left, False)):
        stereo, facts = cleaned(np.stack([left, right], axis=1), tmp_path)
        expected = left if is_opposite else (left + right) / 2
        np.testing.assert_allclose(stereo, expected, atol=1 / 32768)
        assert ("in opposite phase" in facts.remarks) == is_opposite
    three, _ = cleaned(np.stack([left, -left, 0 * left], axis=1), tmp_path)
    assert not three.any()  # who knows which one was meant


def test_a_small_offset_is_named_where_it_hides_the_sound(tmp_path):
    for sound, offset in ((sine(300, 1, 0.001), 0.01), (sine(300, 1), 0.1)):
        soundfile.write(tmp_path / "x.wav", sound + offset, RATE, subtype="FLOAT")
        _, report = corpora.prepare("folder", tmp_path / "x.wav", SoundFormat(RATE))
        assert report.offsets == {"x.wav": pytest.approx(offset, rel=0.01)}
        assert "1 around an offset" in report.lines()[0]
        _, report = corpora.prepare("folder", tmp_path / "x.wav", SoundFormat(RATE, Cleaning(highpass=20)))
        assert report.offsets == {}
    soundfile.write(tmp_path / "x.wav", sine(300, 1, 0.3) + 0.01, RATE, subtype="FLOAT")
    _, report = corpora.prepare("folder", tmp_path / "x.wav", SoundFormat(RATE))
    assert report.offsets == {}


def test_what_is_done_is_a_part_of_what_a_store_is(tmp_path):
    soundfile.write(tmp_path / "x.wav", sine(300, 1), RATE)
    plain = SoundFormat(RATE)
    assert (plain.name, plain.facts) == ("8000", {"sample_rate": 8000})  # as before there were such keys
    wants = [plain]
    wants += [
        SoundFormat(RATE, Cleaning(**keys)) for keys in ({"highpass": 20}, {"highpass": 20.5}, {"trim_silence": True})
    ]
    wants += [SoundFormat(RATE, Cleaning(longest_pause=0.3, normalize="peak"))]
    paths = [corpora.prepare("folder", tmp_path / "x.wav", one)[0] for one in wants]
    assert len(set(paths)) == 5
    for path, wanted in zip(paths, wants, strict=True):
        assert store.load(path).item_format == wanted
        assert store.prepared("folder", wanted)[0][0] == path
    assert paths[4].name.startswith("folder-8000-normalize-peak-longest-pause-0.3-")
