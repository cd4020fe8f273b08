import numpy as np
import pytest

from wavegen.features.log_mel import SILENT, LogMel
from wavegen.features.matching import JOINED_HZ, Matcher

LOG_MEL = LogMel(8000, n_mels=24, hop=40, n_fft=256)


def noise(n: int = 4000, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(n)


def tone(n: int = 4000, hertz: float = 440.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(n) / 8000)


def voice(n: int = 4000) -> np.ndarray:
    """Harmonics that fade in and out."""
    time = np.arange(n) / 8000
    return 0.05 * (1.2 + np.sin(10 * time)) * sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 20))


def matched(sound: np.ndarray, bands: np.ndarray, sizes: list[int] | None = None, log_mel: LogMel = LOG_MEL):
    """The whole of it, fed in blocks of some lengths, the last of them repeatedly."""
    matcher, blocks, first = Matcher(log_mel, bands), [], 0
    sizes = [len(sound)] if sizes is None else sizes
    while first < len(sound):
        size = sizes[min(len(blocks), len(sizes) - 1)]
        blocks.append(matcher.feed(sound[first : first + size]))
        first += size
    return np.concatenate([*blocks, matcher.finish()])


def distance_db(sound: np.ndarray, bands: np.ndarray) -> float:
    """Mean distance of log-mel frames from given ones, without those at the ends."""
    return float(50 * np.abs(LOG_MEL.frames(sound) - bands)[4:-4].mean())


@pytest.mark.parametrize("sizes", [[1], [7], [40], [41, 3, 1000], [256], [0, 999, 0, 5]], ids=str)
def test_blocks_of_any_size_give_the_same_samples(sizes):
    sound, bands = noise(1500), LOG_MEL.frames(voice(1500))
    np.testing.assert_array_equal(matched(sound, bands, sizes), matched(sound, bands))


@pytest.mark.parametrize("n", [1, 39, 40, 41, 127, 128, 255, 256, 257, 1000])
def test_what_comes_out_is_as_long_as_what_was_fed(n):
    sound = tone(n)
    made = matched(sound, LOG_MEL.frames(sound))
    assert (made.shape, made.dtype) == ((n,), np.float32)
    assert np.isfinite(made).all()


def test_nothing_fed_is_nothing_given():
    assert Matcher(LOG_MEL, np.zeros((3, 24))).finish().shape == (0,)


@pytest.mark.parametrize(
    "sound", [voice(), tone(), noise(), tone(100), noise(1)], ids=["voice", "tone", "noise", "short", "one"]
)
def test_a_recording_matched_to_its_own_frames_stays(sound):
    np.testing.assert_allclose(matched(sound, LOG_MEL.frames(sound)), sound, atol=0.01)


@pytest.mark.parametrize("wanted", [tone(), voice()], ids=["tone", "voice"])
def test_noise_matched_to_the_frames_of_another_sound_gets_them(wanted):
    bands = LOG_MEL.frames(wanted)
    before = distance_db(noise(), bands)
    assert distance_db(matched(noise(), bands), bands) < 0.1 * before


def test_noise_of_another_level_gets_the_level_of_its_frames():
    bands = LOG_MEL.frames(noise())
    made = matched(noise(level=0.01), bands)
    assert abs(20 * np.log10(made[300:-300].std() / 0.1)) < 1


@pytest.mark.parametrize("hop", [40, 50, 128, 33])
def test_the_first_sample_comes_once_one_more_than_the_delay_is_fed(hop):
    log_mel = LogMel(8000, n_mels=24, hop=hop, n_fft=256)
    sound = noise(2000)
    matcher = Matcher(log_mel, log_mel.frames(sound))
    assert len(matcher.feed(sound[: matcher.delay])) == 0
    assert len(matcher.feed(sound[matcher.delay : matcher.delay + 1])) > 0


def test_no_sample_waits_for_longer_than_a_hop_beyond_the_delay():
    sound = noise(2000)
    matcher, n_given = Matcher(LOG_MEL, LOG_MEL.frames(sound)), 0
    for n_fed, sample in enumerate(sound, start=1):
        n_given += len(matcher.feed(sample[None]))
        assert n_given <= n_fed
        if n_fed > matcher.delay:
            assert n_fed - n_given <= matcher.delay + 40


def test_beyond_the_last_frame_a_sound_is_left_alone():
    sound = noise(3000)
    made = matched(sound, LOG_MEL.frames(tone(1000)))
    inside = slice(1000 + 500, None)  # where frames no longer agree with those that were scaled
    # The end of the newest frame, which no other covers yet, is a little softer than it will be: 1 % of it stays.
    np.testing.assert_allclose(made[inside], sound[inside], rtol=0.02, atol=1e-4)
    assert np.abs(made[300:700] - sound[300:700]).max() > 0.05


def test_frames_beyond_the_sound_change_nothing_but_its_end():
    bands = LOG_MEL.frames(tone())
    whole, part = matched(noise(), bands), matched(noise(2000), bands)
    alike = slice(2000 - 256 - 3 * 40)  # windows that hold the end, and three frames that saw the first of them
    np.testing.assert_array_equal(part[alike], whole[alike])


def test_sound_where_its_frames_are_silent_becomes_silence():
    made = matched(noise(), np.full((100, 24), SILENT))
    assert np.abs(made[256:-256]).max() < 0.01  # 40 dB softer, which is what a bin may become


@pytest.mark.parametrize("level", [SILENT, 1.0, 3.0])
def test_silence_stays_finite_whatever_its_frames_say(level):
    made = matched(np.zeros(1000), np.full((25, 24), level))
    np.testing.assert_array_equal(made, 0)


def test_what_its_frames_make_louder_than_full_scale_is_clipped():
    made = matched(noise(), np.full((100, 24), 3.0))
    assert np.abs(made).max() == 1
    assert np.isfinite(made).all()


def test_two_matchers_do_not_disturb_each_other():
    bands = LOG_MEL.frames(voice(1000))
    one, other = Matcher(LOG_MEL, bands), Matcher(LOG_MEL, bands)
    parts = []
    for first in range(0, 1000, 100):
        parts.append(one.feed(noise(1000)[first : first + 100]))
        other.feed(tone(1000)[first : first + 100])
    parts.append(one.finish())
    np.testing.assert_array_equal(np.concatenate(parts), matched(noise(1000), bands))


def test_joined_bands_leave_a_transposed_voice_its_pitch():
    log_mel = LogMel(16000)

    def voice(hertz: float) -> np.ndarray:
        time = np.arange(8000) / 16000
        return sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 20)) / 8

    def pitch(sound: np.ndarray) -> float:
        spectrum = np.abs(np.fft.rfft(sound[2000:6000] * np.hanning(4000), 1 << 16))
        return float(spectrum[: 1 << 10].argmax() * 16000 / (1 << 16))  # up to 250 Hz

    frames = log_mel.frames(voice(150))
    for least_hz, expected in ((0.0, 150), (JOINED_HZ, 200)):
        matcher = Matcher(log_mel, frames, least_hz)
        assert pitch(np.concatenate([matcher.feed(voice(200)), matcher.finish()])) == pytest.approx(expected, abs=8)
