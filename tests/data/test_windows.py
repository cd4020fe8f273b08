import numpy as np
import pytest

from wavegen.codec import Linear, MuLaw, PreEmphasised
from wavegen.data import store
from wavegen.data.windows import Coder, Framer, Segment, WindowRule, Windows, code_table, excerpt, rms_step
from wavegen.errors import InputError
from wavegen.features.frames import Features
from wavegen.features.linear_prediction import Predictor
from wavegen.features.log_mel import SILENT, LogMel
from wavegen.features.pitch import Pitch

CODEC = MuLaw(256)
CONTEXT = 20


def ramp_store(*lengths: int) -> store.Store:
    """Recordings in which every sample tells where it is."""
    waveforms = [np.linspace(-0.9, 0.9, n) + 0.001 * number for number, n in enumerate(lengths)]
    return store.in_memory("ramps", 8000, waveforms)


def segments_of(opened: store.Store, **changes) -> list[Segment]:
    return [Segment(r.name, r.start, r.n_samples, {"who": r.name}, True)._replace(**changes) for r in opened.recordings]


def windows(opened: store.Store, segments: list[Segment] | None = None, labels=None, **changes) -> Windows:
    values = {
        "window": 50,
        "context": CONTEXT,
        "start_share": 0.3,
        "learn_endings": False,
        "label_dropout": 0.0,
        "balance": False,
        "input_noise": 0.0,
        "seed": 1,
        **changes,
    }
    return Windows(opened, segments or segments_of(opened), CODEC, WindowRule(**values), labels or {})


def test_the_typical_departure_is_the_power_of_two_nearest_to_the_differences():
    steps = np.tile([0.0, 0.011], 500)  # 0.011 lies between 2**-7 and 2**-6, nearer to the first
    assert rms_step(*_opened(steps), Linear(65536)) == 2**-7
    assert rms_step(*_opened(np.zeros(100)), Linear(65536)) == 2**-14
    assert rms_step(*_opened(np.tile([-0.99, 0.99], 50)), Linear(65536)) == 1


def _opened(waveform: np.ndarray) -> tuple[store.Store, list[Segment]]:
    opened = store.in_memory("x", 8000, [waveform])
    return opened, segments_of(opened)


def test_the_code_table_is_the_codec():
    for codec in (CODEC, Linear(65536)):
        samples = np.array([-32768, -1, 0, 1, 32767], dtype=np.int16)
        np.testing.assert_array_equal(code_table(codec)[samples], codec.encode(samples / 32768))


def test_windows_are_a_pure_function_of_seed_and_step():
    opened = ramp_store(300, 500)
    first = windows(opened).batch(7, 4)
    made = windows(opened)
    made.batch(3, 4)
    again = made.batch(7, 4)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other) if isinstance(one, np.ndarray) else None
    assert first.origins == again.origins
    assert windows(opened).batch(8, 4).origins != first.origins
    assert windows(opened, seed=2).batch(7, 4).origins != first.origins
    assert windows(opened).batch(7, 2).origins == first.origins[:2]


def test_a_window_counts_from_the_start_of_a_recording_or_behind_its_context():
    opened = ramp_store(300, 500)
    for step in range(30):
        batch = windows(opened).batch(step, 4)
        for codes, counted, origin in zip(batch.codes, batch.counted, batch.origins, strict=True):
            name, offset = origin.split(" from sample ")
            recording = next(r for r in opened.recordings if r.name == name)
            first = recording.start + int(offset)
            np.testing.assert_array_equal(codes, CODEC.encode(opened.samples[first : first + 50] / 32768))
            assert counted[CONTEXT:].all()
            assert counted[:CONTEXT].all() == (int(offset) == 0)
            assert counted[:CONTEXT].any() == (int(offset) == 0)


@pytest.mark.parametrize("learn_endings", [False, True])
def test_silence_behind_a_recording_counts_if_that_is_asked_for(learn_endings):
    batch = windows(ramp_store(30), learn_endings=learn_endings).batch(0, 2)
    assert (batch.codes[:, 30:] == CODEC.silence).all()
    assert batch.counted[:, :30].all()
    assert (batch.counted[:, 30:] == learn_endings).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_start_share_is_the_one_asked_for(share):
    made = windows(ramp_store(5000, 5000), start_share=share)
    starts = [origin.endswith(" sample 0") for step in range(100) for origin in made.batch(step, 4).origins]
    assert abs(np.mean(starts) - share) < 0.08  # 400 draws: three standard deviations of a fair coin


def test_samples_are_chosen_evenly_from_long_and_short_recordings():
    made = windows(ramp_store(1000, 9000), start_share=0.0)
    names = [origin.split()[0] for step in range(250) for origin in made.batch(step, 4).origins]
    assert abs(np.mean([name.endswith("0001") for name in names]) - 0.9) < 0.03


def test_balanced_windows_come_from_every_group_equally_often():
    opened = ramp_store(1000, 8000, 1000)
    segments = [s._replace(group=group) for s, group in zip(segments_of(opened), ("a", "b", "b"), strict=True)]
    made = windows(opened, segments, start_share=0.1, balance=True)
    names = [origin.split()[0] for step in range(250) for origin in made.batch(step, 4).origins]
    assert abs(np.mean([name.endswith("0000") for name in names]) - 0.5) < 0.05


def test_recordings_shorter_than_the_window_are_padded_with_silence_that_does_not_count():
    batch = windows(ramp_store(30)).batch(0, 2)
    assert (batch.codes[:, 30:] == CODEC.silence).all()
    assert batch.counted[:, :30].all()
    assert not batch.counted[:, 30:].any()


def test_stretches_from_the_middle_of_a_recording_never_count_their_context():
    opened = ramp_store(1000)
    middle = segments_of(opened, start=200, n_samples=60, at_start=False)
    batch = windows(opened, middle).batch(0, 8)
    assert not batch.counted[:, :CONTEXT].any()


def test_labels_become_rows_and_hidden_ones_the_last():
    opened = ramp_store(300, 300)
    names = [recording.name for recording in opened.recordings]
    batch = windows(opened, labels={"who": names}).batch(0, 16)
    assert [names[row] for row in batch.labels["who"]] == [origin.split()[0] for origin in batch.origins]
    hidden = windows(opened, labels={"who": names}, label_dropout=1.0).batch(0, 16)
    assert (hidden.labels["who"] == 2).all()
    unknown = windows(opened, labels={"who": names[:1]}).batch(0, 16)
    assert set(unknown.labels["who"]) == {0, 1}


def test_windows_that_could_count_nothing_are_refused():
    opened = ramp_store(300)
    with pytest.raises(InputError, match="window holds 20 codes; it must exceed the context"):
        windows(opened, window=20)
    with pytest.raises(InputError, match="no recording of ramps is longer"):
        windows(opened, segments_of(opened, n_samples=10, at_start=False))


def test_blocks_of_a_segment_are_its_codes_in_pieces():
    opened = ramp_store(300)
    (segment,) = segments_of(opened)
    coder = Coder(opened, CODEC)
    whole = coder.codes(0, 300)
    np.testing.assert_array_equal(np.concatenate(list(coder.blocks(segment, 70))), whole)
    pieces = list(coder.blocks(segment, 70, overlap=1))
    assert [len(piece) for piece in pieces] == [70, 71, 71, 71, 21]
    np.testing.assert_array_equal(np.concatenate([pieces[0], *(piece[1:] for piece in pieces[1:])]), whole)


def test_input_noise_changes_what_is_heard_and_nothing_else():
    opened = ramp_store(300, 500)
    plain, noisy = windows(opened).batch(3, 8), windows(opened, input_noise=3.0).batch(3, 8)
    np.testing.assert_array_equal(noisy.codes, plain.codes)
    assert plain.inputs is None
    deviation = (noisy.inputs - noisy.codes)[noisy.counted]
    assert 2.5 < deviation.std() < 3.5
    assert abs(deviation.mean()) < 0.5
    assert 0 <= noisy.inputs.min() <= noisy.inputs.max() < 256
    np.testing.assert_array_equal(windows(opened, input_noise=3.0).batch(3, 8).inputs, noisy.inputs)


LOG_MEL = LogMel(8000, n_mels=6, hop=16, n_fft=64)
FEATURES = Features(LOG_MEL)


def test_frames_are_those_of_the_segment_alone_with_silence_around_it():
    opened = ramp_store(300, 500, 400)
    middle = segments_of(opened)[1]
    whole = FEATURES.frames(opened.samples[middle.start : middle.start + 500] / 32768)
    framer = Framer(opened, FEATURES, look_ahead=2)
    beginning, inside, end = framer.frames([(middle, 0), (middle, 160), (middle, 448)], 100).values
    assert beginning.shape == (2 + 8 + 2, 6)
    assert (beginning[:2] == SILENT).all()
    np.testing.assert_allclose(beginning[2:], whole[:10], atol=1e-5)
    np.testing.assert_allclose(inside, whole[8:20], atol=1e-5)
    np.testing.assert_allclose(end[:6], whole[26:32], atol=1e-5)
    assert (end[6:] == SILENT).all()


def test_windows_with_frames_begin_at_a_frame():
    opened = ramp_store(300, 500)
    segments = segments_of(opened)
    framer = Framer(opened, FEATURES, look_ahead=1)
    rule = WindowRule(50, CONTEXT, 0.3, False, 0.0, False, 0.0, 1)
    batch = Windows(opened, segments, CODEC, rule, {}, framer).batch(0, 12)
    places = [int(origin.rsplit(" ", 1)[1]) for origin in batch.origins]
    assert all(place % 16 == 0 for place in places)
    assert len(set(places)) > 3
    by_name = {segment.name: segment for segment in segments}
    chosen = [(by_name[origin.split(" ")[0]], place) for origin, place in zip(batch.origins, places, strict=True)]
    np.testing.assert_array_equal(batch.frames.values, framer.frames(chosen, 50).values)
    coder = Coder(opened, CODEC)
    np.testing.assert_array_equal(batch.codes[3], coder.codes(chosen[3][0].start + chosen[3][1], 50))


def test_an_excerpt_takes_whole_recordings_evenly_or_the_beginning_of_a_long_one():
    def make(n: int, at_start: bool = True) -> Segment:
        return Segment(f"{n}", 0, n, {}, at_start)

    many = [make(100) for _ in range(50)]
    assert len(excerpt(many, 1000, 10)) == 10
    assert sum(s.n_samples for s in excerpt(many, 1000, 10)) == 1000
    (long,) = excerpt([make(10_000)], 1000, 10)
    assert long.n_samples <= 10_000
    assert len(excerpt([make(5, False), make(100, False)], 1000, 10)) == 1
    assert len(excerpt(many, 10, 10)) == 1
    assert excerpt([], 10, 10) == []


RAISED = PreEmphasised(Linear(65536), 0.85)


@pytest.mark.parametrize("codec", [RAISED, PreEmphasised(MuLaw(256), 0.5)], ids=["linear", "mu-law"])
def test_pre_emphasised_codes_are_those_of_the_whole_recording_wherever_a_stretch_begins(codec):
    opened = voices(300, 500)
    coder = Coder(opened, codec)
    for one in opened.recordings:
        whole = codec.encode(opened.samples[one.start : one.start + one.n_samples] / 32768)
        for first, n in ((0, 1), (0, one.n_samples), (1, 5), (100, 50), (one.n_samples - 1, 1), (7, 0)):
            np.testing.assert_array_equal(coder.codes(one.start + first, n), whole[first : first + n])
        segment = Segment("", one.start + 20, 200, {}, False)
        np.testing.assert_array_equal(np.concatenate(list(coder.blocks(segment, 70))), whole[20:220])


def test_the_first_pre_emphasised_code_of_a_recording_knows_nothing_of_the_one_before():
    opened = store.in_memory("x", 8000, [np.full(10, 0.9), np.full(10, 0.1)])
    found = Coder(opened, RAISED).codes(10, 2)
    np.testing.assert_array_equal(found, RAISED.encode(np.full(2, 3277 / 32768)))


def test_louder_codes_are_those_of_the_louder_sound():
    opened = voices(400)
    louder = store.in_memory("x", 8000, [(opened.samples * 1.5).round() / 32768])
    for codec in (CODEC, RAISED):
        found = Coder(opened, codec).codes(10, 300, 1.5)
        np.testing.assert_array_equal(found, Coder(louder, codec).codes(10, 300))
    clipped = Coder(opened, Linear(65536)).codes(0, 400, 1000.0)
    assert clipped.max() == Linear(65536).encode([32767 / 32768])[0]
    assert clipped.min() == 0


BOTH = Features(LOG_MEL, Pitch(8000, hop=16))
PREDICTOR = Predictor(LOG_MEL, 4, 0.85, 65536, BOTH.pitch)


def voices(*lengths: int) -> store.Store:
    """Recordings with a pitch and some noise."""
    random = np.random.default_rng(0)
    waveforms = []
    for n in lengths:
        phase = 2 * np.pi * random.uniform(100, 300) * np.arange(n) / 8000
        waveforms.append(0.05 * sum(np.sin(k * phase) for k in range(1, 6)) + 0.01 * random.standard_normal(n))
    return store.in_memory("voices", 8000, waveforms)


def test_frames_of_a_louder_stretch_are_those_of_the_louder_sound():
    opened = voices(900)
    louder = store.in_memory("louder", 8000, [(2 * opened.samples.astype(float)) / 32768])
    (segment,) = segments_of(opened)
    found = Framer(opened, BOTH, 1, PREDICTOR).frames([(segment, 160), (segment, 160)], 100, [2.0, 1.0])
    expected = Framer(louder, BOTH, 1, PREDICTOR).frames([(segment, 160)], 100)
    np.testing.assert_allclose(found.values[0], expected.values[0], atol=1e-4)
    plain = Framer(opened, BOTH, 1, PREDICTOR).frames([(segment, 160)], 100)
    np.testing.assert_array_equal(found.values[1], plain.values[0])
    np.testing.assert_allclose(found.prediction.gains[0], expected.prediction.gains[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found.prediction.periods[0], expected.prediction.periods[0])
    assert (found.prediction.gains[0, :, 0] > plain.prediction.gains[0, :, 0]).all()


def test_frames_have_the_pitch_of_the_whole_recording_at_their_places():
    opened = voices(300, 900)
    segment = segments_of(opened)[1]._replace(start=300 + 320, n_samples=500, at_start=False)
    whole = BOTH.pitch.frames(opened.samples[300:1200] / 32768)
    found = Framer(opened, BOTH, 1).frames([(segment, 0), (segment, 96), (segment, 480)], 60).values[..., 6:]
    beginning, inside, end = found
    np.testing.assert_array_equal(beginning[0], BOTH.pitch.silent)
    np.testing.assert_array_equal(beginning[1:], whole[20:26])
    np.testing.assert_array_equal(inside, whole[25:32])
    np.testing.assert_array_equal(end[:3], whole[49:52])
    np.testing.assert_array_equal(end[3:], np.tile(BOTH.pitch.silent, (4, 1)))


@pytest.mark.parametrize("look_ahead", [0, 1, 3])
def test_the_prediction_of_a_stretch_is_that_of_the_whole(look_ahead):
    opened = voices(900)
    (segment,) = segments_of(opened)
    frames = np.concatenate([BOTH.frames(opened.samples / 32768), BOTH.silent[None]])
    whole = PREDICTOR.of(frames[None])
    found = Framer(opened, BOTH, look_ahead, PREDICTOR).frames([(segment, 0), (segment, 320)], 160).prediction
    for array, expected in zip(found, whole, strict=True):
        for row, first in ((0, 0), (1, 20)):
            np.testing.assert_allclose(array[row, :10], expected[0, first : first + 10], atol=2, rtol=1e-4)
    np.testing.assert_allclose(found.gains[:, :10], [whole.gains[0, :10], whole.gains[0, 20:30]], rtol=1e-4)


def louder_windows(opened: store.Store, codec=RAISED, segments: list[Segment] | None = None, **changes) -> Windows:
    rule = WindowRule(
        **{
            "window": 160, "context": CONTEXT, "start_share": 0.3, "learn_endings": False, "label_dropout": 0.0,
            "balance": False, "input_noise": 0.0, "seed": 1, **changes,
        }
    )  # fmt: skip
    return Windows(opened, segments or segments_of(opened), codec, rule, {}, Framer(opened, BOTH, 1, PREDICTOR))


def test_a_window_is_made_louder_or_softer_together_with_its_frames():
    opened = voices(2000, 3000)
    plain, changed = (louder_windows(opened, Linear(65536), gain_db=gain_db).batch(5, 12) for gain_db in (0.0, 10.0))
    assert changed.origins == plain.origins
    as_sound = [Linear(65536).decode(batch.codes).astype(float) for batch in (plain, changed)]
    gains_db = 20 * np.log10((as_sound[0] * as_sound[1]).sum(axis=1) / np.square(as_sound[0]).sum(axis=1))
    assert gains_db.min() < -4 < 4 < gains_db.max()
    assert np.abs(gains_db).max() <= 10.01
    factors = 10 ** (gains_db / 20)
    np.testing.assert_allclose(as_sound[1], as_sound[0] * factors[:, None], atol=3 / 32768)
    inside = slice(3, -3)
    of_bands = 50 * (changed.frames.values - plain.frames.values)[:, inside, :6]
    np.testing.assert_allclose(of_bands, np.broadcast_to(gains_db[:, None, None], of_bands.shape), atol=0.1)
    of_loudness = 50 * (changed.frames.values - plain.frames.values)[:, inside, 9]
    np.testing.assert_allclose(of_loudness, np.broadcast_to(gains_db[:, None], of_loudness.shape), atol=0.1)
    np.testing.assert_array_equal(changed.frames.values[..., 6:9], plain.frames.values[..., 6:9])


def test_louder_windows_are_a_pure_function_of_seed_and_number():
    opened = voices(2000)
    first, again = (louder_windows(opened, gain_db=10.0).batch(5, 4) for _ in range(2))
    np.testing.assert_array_equal(first.codes, again.codes)
    assert (first.codes != louder_windows(opened, gain_db=10.0, seed=2).batch(5, 4).codes).any()


def places_of(batch) -> list[tuple[str, int]]:
    return [(name, int(place)) for name, place in (origin.split(" from sample ") for origin in batch.origins)]


def test_the_codes_before_a_window_come_with_it():
    opened = voices(1000, 600)
    batch = louder_windows(opened, lead_in=64).batch(3, 16)
    assert batch.lead_in == 64
    assert batch.codes.shape == (16, 64 + 160)
    places = places_of(batch)
    assert any(place == 0 for _, place in places)
    assert any(place >= 64 for _, place in places)
    for (name, place), codes in zip(places, batch.codes, strict=True):
        one = next(one for one in opened.recordings if one.name == name)
        whole = RAISED.encode(opened.samples[one.start : one.start + one.n_samples] / 32768)
        silent = np.full(64, RAISED.silence)
        np.testing.assert_array_equal(codes, np.concatenate([silent, whole])[place : place + 224])


def test_what_comes_before_a_window_counts_for_nothing():
    opened = voices(1000, 600)
    plain, led_in = (louder_windows(opened, lead_in=lead_in).batch(3, 16) for lead_in in (0, 64))
    assert led_in.origins == plain.origins
    assert not led_in.counted[:, :64].any()
    np.testing.assert_array_equal(led_in.counted[:, 64:], plain.counted)
    np.testing.assert_array_equal(led_in.codes[:, 64:], plain.codes)


def test_frames_begin_with_the_codes_before_a_window():
    opened = voices(1000, 600)
    batch = louder_windows(opened, lead_in=64).batch(3, 16)
    by_name = {segment.name: segment for segment in segments_of(opened)}
    stretches = [(by_name[name], place - 64) for name, place in places_of(batch)]
    expected = Framer(opened, BOTH, 1, PREDICTOR).frames(stretches, 224)
    np.testing.assert_array_equal(batch.frames.values, expected.values)
    np.testing.assert_array_equal(batch.frames.prediction.periods, expected.prediction.periods)
    assert batch.frames.prediction.coefficients.shape[1] * 16 >= 224


def test_a_window_that_begins_with_a_stretch_within_a_recording_misses_what_came_before_it():
    """Whose codes belong to another split, so that nothing counts that depends on them."""
    opened = voices(1000)
    segments = segments_of(opened, start=400, n_samples=600, at_start=False)
    batch = louder_windows(opened, segments=segments, lead_in=64).batch(0, 24)
    first_counted = {}
    for (_, place), counted, codes in zip(places_of(batch), batch.counted, batch.codes, strict=True):
        first_counted[place] = int(counted.argmax())
        assert (codes[: max(0, 64 - place)] == RAISED.silence).all()
    assert all(first == 64 + CONTEXT + max(0, 64 - place) for place, first in first_counted.items())
    assert min(first_counted) < 64 <= max(first_counted)


def test_a_stretch_that_would_be_counted_nowhere_is_refused_where_what_came_before_it_is_missing():
    opened = voices(1000)
    segments = segments_of(opened, start=400, n_samples=64 + CONTEXT, at_start=False)
    with pytest.raises(InputError, match="no recording of voices is longer than the context"):
        louder_windows(opened, segments=segments, lead_in=64)


def test_before_a_recording_there_is_silence_without_input_noise():
    opened = voices(1000)
    batch = louder_windows(opened, lead_in=64, input_noise=300.0, start_share=0.7).batch(0, 12)
    for (_, place), inputs, codes in zip(places_of(batch), batch.inputs, batch.codes, strict=True):
        n_missing = max(0, 64 - place)
        assert (inputs[:n_missing] == RAISED.silence).all()
        assert (inputs[n_missing:] != codes[n_missing:]).mean() > 0.9
