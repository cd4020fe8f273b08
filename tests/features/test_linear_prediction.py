import numpy as np
import pytest

from wavegen.codec import Linear, PreEmphasised
from wavegen.features.linear_prediction import LARGEST, SHIFT, Predictor, companding, levinson, predict
from wavegen.features.log_mel import SILENT, LogMel
from wavegen.features.pitch import Pitch

ORDER = 12
N_CLASSES = 65536
LOG_MEL = LogMel(16000, n_mels=40, hop=100, n_fft=512)
PREDICTOR = Predictor(LOG_MEL, ORDER, 0.0, N_CLASSES)


def autocorrelations(n: int, order: int = ORDER) -> np.ndarray:
    """Of random power spectra (n, order + 1)."""
    power = np.random.default_rng(0).exponential(size=(n, 65)) ** 3
    return np.fft.irfft(power)[:, : order + 1]


def shaped_noise(filter_: np.ndarray, n: int = 16000, seed: int = 0) -> np.ndarray:
    """White noise e behind a filter: s[t] = e[t] + sum over k of filter[k] s[t - 1 - k]."""
    sound = np.zeros(n + len(filter_))
    for t, drawn in enumerate(np.random.default_rng(seed).standard_normal(n), len(filter_)):
        sound[t] = drawn + filter_ @ sound[t - len(filter_) : t][::-1]
    return 0.1 * sound[len(filter_) :] / sound.std()


def resonator(hertz: float, width: float) -> np.ndarray:
    """The two coefficients of a resonance."""
    radius = np.exp(-np.pi * width / 16000)
    return np.array([2 * radius * np.cos(2 * np.pi * hertz / 16000), -(radius**2)])


VOWEL = -np.polymul([1, *-resonator(700, 300)], [1, *-resonator(2500, 600)])[1:]


def poles(filters: np.ndarray) -> np.ndarray:
    """The largest pole of each filter (n, order)."""
    return np.array([np.abs(np.roots([1, *-row])).max(initial=0) for row in filters])


def excitations(codes: np.ndarray, coefficients: np.ndarray, n_classes: int, hop: int) -> np.ndarray:
    """Of codes less silence (T,), each behind `coefficients` of its frame (F, order), from the order on."""
    order = coefficients.shape[1]
    past = np.lib.stride_tricks.sliding_window_view(codes, order)[:-1, ::-1]
    steps = np.arange(order, len(codes))
    return codes[steps] - predict(coefficients[steps // hop], past, n_classes)


def test_the_recursion_solves_the_toeplitz_system():
    given = autocorrelations(30)
    filters, error = levinson(given)
    at = np.abs(np.arange(ORDER)[:, None] - np.arange(ORDER))
    solved = np.stack([np.linalg.solve(row[at], row[1:]) for row in given])
    np.testing.assert_allclose(filters, solved, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(error, given[:, 0] - (solved * given[:, 1:]).sum(axis=1), rtol=1e-8)


def test_filters_of_any_power_spectrum_are_stable_and_leave_some_power():
    filters, error = levinson(autocorrelations(30))
    assert poles(filters).max() < 1
    assert (error > 0).all()


def test_shapes_before_the_lags_are_kept():
    given = autocorrelations(6)
    filters, error = levinson(given.reshape(2, 3, -1))
    assert (filters.shape, error.shape) == ((2, 3, ORDER), (2, 3))
    np.testing.assert_array_equal(filters[1, 2], levinson(given[5:])[0][0])


def test_frames_of_noise_behind_a_filter_give_the_filter_back():
    """In its response: bands smooth it, so that its coefficients need not be alike."""
    frames = LOG_MEL.frames(shaped_noise(VOWEL, 64000))[5:-5]
    filters = PREDICTOR.of(frames.mean(axis=0)[None, None].repeat(2, axis=1)).coefficients[0, 0] / 2**SHIFT
    hertz = np.linspace(200, 7000, 100)
    turn = np.exp(-2j * np.pi * hertz / 16000)

    def response_db(filter_: np.ndarray) -> np.ndarray:
        response = -20 * np.log10(np.abs(1 - sum(a * turn ** (k + 1) for k, a in enumerate(filter_))))
        return response - response.mean()

    assert np.ptp(response_db(VOWEL)) > 20
    difference = response_db(filters) - response_db(VOWEL)
    assert np.sqrt(np.mean(difference**2)) < 1.5


@pytest.mark.parametrize("pre_emphasis", [0.0, 0.85])
@pytest.mark.parametrize("filter_", [VOWEL, np.zeros(1), np.array([0.95])], ids=["vowel", "white", "low"])
def test_the_gain_is_about_the_size_of_the_excitation_of_noise(pre_emphasis, filter_):
    """Of noise: speech has a gain of 1, noise with its bands one of EXCITATION, and frames smooth."""
    sound = shaped_noise(filter_)
    prediction = Predictor(LOG_MEL, ORDER, pre_emphasis, N_CLASSES).of(
        np.concatenate([LOG_MEL.frames(sound)[None], np.full((1, 1, 40), SILENT)], axis=1)
    )
    codes = PreEmphasised(Linear(N_CLASSES), pre_emphasis).encode(sound) - N_CLASSES // 2
    left = excitations(codes, prediction.coefficients[0], N_CLASSES, 100) * 2 / (N_CLASSES - 1)
    in_gains = (left / prediction.gains[0, np.arange(ORDER, len(codes)) // 100, 0])[500:-500]
    assert 0.9 < np.sqrt(np.mean(in_gains**2)) < 1.3
    left_alone = codes.std() * 2 / (N_CLASSES - 1)
    if len(filter_) > 1:
        assert left.std() < 0.6 * left_alone


def test_twice_the_sound_has_twice_the_gain_and_the_same_filter():
    sound = 10 * shaped_noise(VOWEL, 3000)  # loud, so that the white noise that is added counts for nothing
    quiet, loud = (PREDICTOR.of(LOG_MEL.frames(factor * sound)[None]) for factor in (1, 2))
    np.testing.assert_allclose(loud.gains[..., 0], 2 * quiet.gains[..., 0], rtol=1e-3)
    assert np.abs(loud.coefficients - quiet.coefficients).max() < 2**SHIFT * 1e-3


EXTREME = {
    "silence": np.full(40, SILENT),
    "full scale": np.ones(40),
    "loudest that is read": np.full(40, 3.0),
    "quietest that is read": np.full(40, -1.5),
    "one band": np.where(np.arange(40) == 20, 3.0, -1.5),
    "lowest band": np.where(np.arange(40) == 0, 3.0, -1.5),
    "highest band": np.where(np.arange(40) == 39, 3.0, -1.5),
    "every second band": np.where(np.arange(40) % 2, 3.0, -1.5),
    "falling": np.linspace(3, -1.5, 40),
}


@pytest.mark.parametrize("order", [1, 16, 32])
@pytest.mark.parametrize("frame", EXTREME.values(), ids=EXTREME.keys())
def test_whatever_a_frame_says_the_filter_is_stable_and_the_gain_finite(frame, order):
    prediction = Predictor(LOG_MEL, order, 0.85, 256).of(np.tile(frame, (1, 2, 1)))
    assert np.isfinite(prediction.gains).all()
    assert (prediction.gains[..., 0] > 0).all()
    assert np.abs(prediction.coefficients).max() <= LARGEST
    assert poles(prediction.coefficients[0] / 2**SHIFT).max() < 1


def test_a_silent_frame_has_the_gain_of_two_codes_or_of_the_white_noise_that_is_added():
    coarse, fine = (
        Predictor(LOG_MEL, ORDER, 0.0, n_classes).of(np.full((1, 2, 40), SILENT)).gains[0, 0]
        for n_classes in (256, N_CLASSES)
    )
    np.testing.assert_allclose(coarse, [4 / 255, np.log(4 / 255)], rtol=1e-6)
    assert 4 / (N_CLASSES - 1) < fine[0] < 5e-4  # -66 dB
    np.testing.assert_allclose(fine[1], np.log(fine[0]), rtol=1e-6)


def test_predictions_do_not_depend_on_the_frames_beside_them_nor_on_the_call():
    frames = np.random.default_rng(0).uniform(-1, 1, (3, 40, 40)).astype(np.float32)
    whole = PREDICTOR.of(frames)
    for row in range(3):
        for first in range(0, 39, 13):
            part = PREDICTOR.of(frames[row : row + 1, first : first + 14])
            np.testing.assert_array_equal(part.coefficients[0], whole.coefficients[row, first : first + 13])
            np.testing.assert_array_equal(part.gains[0], whole.gains[row, first : first + 13])


def test_without_a_pitch_there_are_no_periods_and_no_voice():
    prediction = PREDICTOR.of(np.zeros((2, 4, 40)))
    assert [array.shape for array in prediction] == [(2, 3, ORDER), (2, 3, 2), (2, 3, 100), (2, 3)]
    assert not prediction.periods.any()
    assert not prediction.voicing.any()


def test_periods_and_voicing_are_those_of_the_last_numbers_of_a_frame():
    pitch = Pitch(16000, hop=100)
    frames = np.tile(pitch.silent, (1, 4, 1))
    frames[0, 1:3] = [2 * np.log(200 / 160), 1, 1, 0.5]
    prediction = Predictor(LOG_MEL, ORDER, 0.0, N_CLASSES, pitch).of(
        np.concatenate([np.zeros((1, 4, 40)), frames], axis=-1)
    )
    assert (prediction.periods == 80).all()  # of three stretches that each have a voice at one end at least
    np.testing.assert_allclose(prediction.voicing, [[0.5, 1, 0.5]])


def test_a_prediction_is_the_sum_in_integers_and_halves_are_rounded_up():
    one = 1 << SHIFT
    assert predict(np.array([one, -one // 2]), np.array([10, 3]), 256) == 9  # 8.5
    assert predict(np.array([one // 2]), np.array([-3]), 256) == -1  # -1.5
    assert predict(np.array([one // 2]), np.array([-1]), 256) == 0  # -0.5
    assert predict(np.array([one // 2 - 1]), np.array([1]), 256) == 0
    random = np.random.default_rng(0)
    coefficients, past = random.integers(-LARGEST, LARGEST, (50, 8)), random.integers(-128, 128, (50, 8))
    exact = np.floor((coefficients * past).sum(axis=1) / 2**SHIFT + 0.5)
    np.testing.assert_array_equal(predict(coefficients, past, 256), exact.clip(-128, 127))


@pytest.mark.parametrize("n_classes", [2, 255, 256, N_CLASSES])
def test_a_prediction_stays_within_the_codes(n_classes):
    silence = n_classes // 2
    past = np.full(64, n_classes - 1 - silence)
    assert predict(np.full(64, LARGEST), past, n_classes) == n_classes - 1 - silence
    assert predict(np.full(64, -LARGEST), np.maximum(past, 1), n_classes) == -silence


def test_the_newest_code_comes_first():
    assert predict(np.array([1 << SHIFT, 0]), np.array([5, 7]), 256) == 5


@pytest.mark.parametrize("n_classes", [2, 255, 256, N_CLASSES])
def test_amplitudes_are_heard_the_same_on_both_sides_of_zero_and_louder_ones_as_more(n_classes):
    values, levels = companding(n_classes)
    assert len(values) == len(levels) == 2 * n_classes - 1
    np.testing.assert_allclose(values, -values[::-1], atol=1e-7)
    assert (np.diff(values) > 0).all()
    assert (np.diff(levels.astype(int)) >= 0).all()
    assert values[n_classes - 1] == 0
    assert levels[n_classes - 1] == 128


def test_full_scale_is_1_and_the_outermost_levels():
    values, levels = companding(257)
    np.testing.assert_allclose(values[[256 - 128, 256 + 128]], [-1, 1], rtol=1e-6)
    assert (levels[256 - 128], levels[256 + 128]) == (0, 255)
    assert (levels[0], levels[-1]) == (0, 255)
