"""`wavegen vocode`: a tiny vocoder trained on tones of two heights, and what it makes of recordings and of frames."""

import os
import re
import signal
import sys

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import wavegen
from tests.conftest import write_recordings
from wavegen import paths, recipe
from wavegen.cli import play
from wavegen.cli.main import make_app
from wavegen.doctor import run as diagnosis
from wavegen.errors import InputError
from wavegen.progress import Bar
from wavegen.training import loop as training

RECIPE = """
data:
  corpus: folder
  source: SOURCE
  sample_rate: 8000
  labels_from_folders: height
  features: {n_mels: 8, hop: 40, n_fft: 256}
model:
  {kind: wavenet, n_blocks: 1, layers_per_block: 4, residual_channels: 8, gate_channels: 8, skip_channels: 16,
   head_channels: 16, frame_channels: 8, look_ahead: 1}
training:
  {steps: 40, batch_size: 4, window: 400, learning_rate: 2.0e-2, warm_up: 2, precision: float32, validate_every: 20,
   validation_seconds: 1, sample_seconds: 0.05}
"""


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory):
    """The run folder, beside the folder `in` of recordings."""
    folder = tmp_path_factory.mktemp("vocoder")
    source = write_recordings(folder / "in", n=12, seconds=0.75)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAVEGEN_DATA", str(folder / "stores"))
        training.train(recipe.parse(RECIPE.replace("SOURCE", str(source)), "tiny"), folder / "run")
    return folder / "run"


@pytest.fixture
def recording(vocoder):
    return vocoder.parent / "in" / "low" / "1.wav"


def run(*words):
    result = CliRunner().invoke(make_app(), list(map(str, words)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_training_learns_and_shows_the_sound_made_again(vocoder):
    described = wavegen.load(vocoder).description
    assert described.features == {"n_mels": 8, "hop": 40, "n_fft": 256, "f_min": 0.0, "f_max": None}
    assert described.bits["validation"] < 7.5
    assert soundfile.info(vocoder / "sample.wav").frames == 400
    assert "int8x8" in described.precision_costs


def test_a_recording_is_made_again_as_long_as_it_was(vocoder, recording, tmp_path):
    out = tmp_path / "again.wav"
    result = run("vocode", vocoder, recording, out, "--seed", 3, "--plot", "--frames", tmp_path / "frames.npy")
    assert soundfile.info(out).frames == soundfile.info(recording).frames == 6000
    assert (tmp_path / "again.png").exists()
    assert result.stdout.split() == [str(tmp_path / name) for name in ("frames.npy", "again.wav", "again.png")]
    frames = np.load(tmp_path / "frames.npy")
    assert frames.shape == (150, 8)

    from_frames = tmp_path / "from_frames.wav"
    run("vocode", vocoder, tmp_path / "frames.npy", from_frames, "--seed", 3)
    assert from_frames.read_bytes() == out.read_bytes()
    model = wavegen.load(vocoder)
    expected = soundfile.read(out, dtype="float32")[0]
    for source in (recording, frames, soundfile.read(recording)[0]):
        made = model.vocode(source, seed=3).samples
        np.testing.assert_allclose(made, expected, atol=1 / 32768)
    assert model.vocode(frames, seed=3, n=2).samples.shape == (2, 6000)


def test_a_folder_is_made_again_file_by_file(vocoder, recording, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "below").mkdir(parents=True)
    sound, rate = soundfile.read(recording)
    soundfile.write(source / "long.wav", sound[:300], rate)
    soundfile.write(source / "below" / "short.flac", sound[:70], rate)
    np.save(source / "frames.npy", wavegen.load(vocoder).frames_of(recording)[0][:5])
    (source / "broken.wav").write_bytes(b"RIFF" + bytes(100_000))  # the largest, so it comes first
    (source / "notes.txt").write_text("not sound")
    (source / ".cache").mkdir()
    (source / ".cache" / "passed over.wav").write_bytes((source / "long.wav").read_bytes())
    options = ("--seed", 3, "--engine", "reference")
    result = run("vocode", vocoder, source, out, *options)
    names = ("long.wav", "below/short.wav", "frames.wav")
    assert sorted(result.stdout.split()) == sorted(str(out / name) for name in names)
    assert [soundfile.info(out / name).frames for name in names] == [300, 70, 200]
    assert f"Left out: cannot read the recording {source / 'broken.wav'}" in result.stderr
    for one in ("long.wav", "below/short.flac", "frames.npy"):
        run("vocode", vocoder, source / one, tmp_path / "alone.wav", *options)
        assert (tmp_path / "alone.wav").read_bytes() == (out / one).with_suffix(".wav").read_bytes()


def test_many_from_python_are_what_each_is_alone(vocoder, recording):
    model, sound = wavegen.load(vocoder), soundfile.read(recording)[0]
    sources = [sound[:160], sound[:40], sound[:80]]
    made = dict(model.vocode_each(sources, n=2, seed=3, engine="reference"))
    for number, source in enumerate(sources):
        np.testing.assert_array_equal(made[number].samples, model.vocode(source, seed=3, engine="reference").samples)


def test_a_folder_that_makes_no_sense_is_refused(vocoder, recording, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    with pytest.raises(InputError, match="holds neither recordings nor frames"):
        run("vocode", vocoder, source, tmp_path / "out")
    (source / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"none of the 1 files of .* could be made again"):
        run("vocode", vocoder, source, tmp_path / "out", "--engine", "reference")
    (source / "a.flac").write_bytes(b"fLaC")
    with pytest.raises(InputError, match=r"2 files of .* would all be made again as .*a\.wav"):
        run("vocode", vocoder, source, tmp_path / "out")
    (source / "a.flac").unlink()
    with pytest.raises(InputError, match=r"a\.wav is to be made again, and would be written over"):
        run("vocode", vocoder, source, source)
    with pytest.raises(InputError, match=r"and IN a folder; expected the name of a folder"):
        run("vocode", vocoder, source, tmp_path / "out.wav")
    with pytest.raises(InputError, match="--frames keeps those of one recording"):
        run("vocode", vocoder, source, tmp_path / "out", "--frames", tmp_path / "frames.npy")
    with pytest.raises(InputError, match=r"OUT is .*, which is also what is read; expected another name"):
        run("vocode", vocoder, recording, recording)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.wav", "in"]


NFC, NFD = "M\u00fcller.wav", "Mu\u0308ller.wav"


@pytest.mark.parametrize(("one", "other"), [("A.flac", "a.wav"), ("Owl/1.wav", "owl/1.wav"), (NFC, NFD)])
def test_names_that_are_one_on_the_disk_are_refused_before_anything_is_made(
    vocoder, recording, tmp_path, monkeypatch, one, other
):
    source, out = tmp_path / "in", tmp_path / "out"
    for name in (one, other):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(recording.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(paths, "are_one_name", lambda folder, one, other: paths.folded(one) == paths.folded(other))
        with pytest.raises(InputError, match="would be one file: this disk does not tell upper from lower case"):
            run("vocode", vocoder, source, out, "--engine", "reference")
    assert not out.exists()
    result = run("vocode", vocoder, source, out, "--engine", "reference")
    assert len(result.stdout.splitlines()) == len([path for path in out.rglob("*") if path.is_file()]) == 2


def test_recordings_are_kept_where_the_disk_takes_their_names_for_those_of_what_is_made(vocoder, recording, tmp_path):
    """Hard links stand for what such a disk finds under the other name."""
    for folder in ("In", "in"):
        (tmp_path / folder).mkdir()
    (tmp_path / "In" / "a.wav").write_bytes(recording.read_bytes())
    os.link(tmp_path / "In" / "a.wav", tmp_path / "in" / "a.wav")
    with pytest.raises(InputError, match=r"in/a\.wav is to be made again, and would be written over"):
        run("vocode", vocoder, tmp_path / "In", tmp_path / "in")
    with pytest.raises(InputError, match=r"OUT is .*in/a\.wav, which is also what is read; expected another name"):
        run("vocode", vocoder, tmp_path / "In" / "a.wav", tmp_path / "in" / "a.wav")


def test_a_sound_that_would_have_the_name_of_a_folder_is_refused(vocoder, recording, tmp_path):
    source = tmp_path / "in"
    (source / "a.wav").mkdir(parents=True)
    for name in ("a.flac", "a.wav/1.wav"):
        (source / name).write_bytes(recording.read_bytes())
    with pytest.raises(InputError, match=r"out/a\.wav would be a sound, and is the name of a folder"):
        run("vocode", vocoder, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_made_within_a_folder_is_not_made_again(vocoder, recording, tmp_path):
    sound, rate = soundfile.read(recording)
    soundfile.write(tmp_path / "a.wav", sound[:70], rate)
    for _ in range(2):
        result = run("vocode", vocoder, tmp_path, tmp_path / "again", "--engine", "reference")
        assert result.stdout.split() == [str(tmp_path / "again" / "a.wav")]
    with pytest.raises(InputError, match=r"a\.wav is to be made again, and would be written over"):
        run("vocode", vocoder, tmp_path / "again", tmp_path / "again" / ".." / "again")


def test_every_engine_makes_the_same_sound_of_the_frames(vocoder, recording):
    model = wavegen.load(vocoder)
    frames, _ = model.frames_of(recording)
    made = [
        model.vocode(frames[:12], seed=0, engine=engine, precision="float32").samples
        for engine in ("numba", "reference")
    ]
    assert made[0].shape == (480,)
    np.testing.assert_array_equal(*made)
    other = model.vocode(frames[:12][::-1] * 0.2, seed=0, engine="numba", precision="float32").samples
    assert not np.array_equal(made[0], other)


def test_what_makes_no_sense_is_refused(vocoder, recording, tiny_run, tmp_path):
    model = wavegen.load(vocoder)
    with pytest.raises(InputError, match="is a vocoder, which needs a recording or frames to make again"):
        run("generate", vocoder)
    with pytest.raises(InputError, match=r"takes no frames; expected a vocoder, trained with data\.features"):
        run("vocode", tiny_run, recording, tmp_path / "x.wav")
    with pytest.raises(InputError, match=r"takes no frames; expected a vocoder, and frames"):
        run("vocode", tiny_run, recording.parent, tmp_path / "x")
    with pytest.raises(InputError, match=r"OUT is .*x\.mp3; expected the name of a \.wav file"):
        run("vocode", vocoder, recording, tmp_path / "x.mp3")
    with pytest.raises(InputError, match="there is no recording"):
        run("vocode", vocoder, tmp_path / "nothing.wav", tmp_path / "x.wav")
    with pytest.raises(InputError, match=r"the array holds frames of shape \(5, 7\); the model reads \(frames, 8\)"):
        model.vocode(np.zeros((5, 7)))
    with pytest.raises(InputError, match="a vocoder draws"):
        model.vocode(np.zeros((5, 8)), beam=2)
    with pytest.raises(InputError, match="it continues no recording"):
        model.vocode(np.zeros((5, 8)), prime=np.zeros(100))
    for waveform in (np.zeros(0), np.full(400, 300.0), np.full(400, np.nan)):
        with pytest.raises(InputError, match=r"is empty, or leaves \[-1, 1\]"):
            model.vocode(waveform)
    assert not list(tmp_path.glob("x*"))


def test_labels_and_frames_together_make_the_sound(vocoder, recording):
    model = wavegen.load(vocoder)
    assert model.labels == {"height": ["high", "low"]}
    high, low = (model.vocode(recording, seed=0, labels={"height": value}).samples for value in ("high", "low"))
    assert not np.array_equal(high, low)


def test_frames_on_another_scale_are_remarked_on_once_and_those_of_a_recording_never(vocoder, tmp_path, caplog):
    model = wavegen.load(vocoder)
    np.save(tmp_path / "x.npy", np.zeros((110, 8), dtype=np.float32))
    model.vocode(tmp_path / "x.npy", seed=0, engine="reference")
    assert [message.partition(" spans ")[0] for message in caplog.messages] == [str(tmp_path / "x.npy")]
    model.vocode(np.zeros((110, 8), dtype=np.float32), seed=0, engine="reference")
    assert caplog.messages[1:] == [caplog.messages[0].replace(str(tmp_path / "x.npy"), "the array")]
    noise = np.random.default_rng(0).uniform(-1, 1, 4400)
    assert model.frames_of(noise)[0].min() > -0.3
    model.vocode(noise, seed=0, engine="reference")
    assert len(caplog.messages) == 2


def test_beyond_the_frames_a_sound_goes_on_in_silence(vocoder):
    model = wavegen.load(vocoder)
    made = [model.generate(0.05, frames=np.zeros((3, 8)), seed=0).samples]
    made += [np.concatenate(list(model.stream(0.05, size, frames=np.zeros((3, 8)), seed=0))) for size in (1, 77)]
    assert made[0].shape == (400,)
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


def test_in_bfloat16_it_trains_and_validates_too(vocoder, tmp_path):
    settings = [
        "training.steps=2", "training.validate_every=1", "training.precision=bfloat16",
        f"data.source={vocoder.parent / 'in'}",
    ]  # fmt: skip
    training.train(recipe.parse(RECIPE, "tiny", settings), tmp_path / "run")
    assert wavegen.load(tmp_path / "run").description.bits["validation"] > 0


def test_the_doctor_looks_into_it(vocoder, monkeypatch, tmp_path):
    monkeypatch.setenv("WAVEGEN_DATA", str(vocoder.parent / "stores"))
    found = {one.what: one for one in diagnosis.diagnose(vocoder, Bar("", 4))}
    assert found["leak of the future"].ok is True
    assert found["data"].ok is True
    assert "by what was recorded" in found["surprise"].detail
    monkeypatch.setenv("WAVEGEN_DATA", str(tmp_path))
    alone = {one.what: one for one in diagnosis.diagnose(vocoder, Bar("", 4))}
    assert alone["data"].ok is None
    assert "is not prepared" in alone["data"].detail
    assert alone["network"].ok is None
    assert "gates" not in alone


def test_what_is_played_while_it_is_made_is_what_vocode_makes(vocoder, recording, tmp_path, monkeypatch):
    monkeypatch.setattr(play, "timed", lambda blocks, rate: (0.5, blocks))
    run("vocode", vocoder, recording, tmp_path / "whole.wav", "--seed", 3)
    words = ("play", vocoder, "--frames", recording, "--seed", 3, "--output", "-", "--record", tmp_path / "played.wav")
    result = run(*words)
    whole, played = (soundfile.read(tmp_path / name, dtype="int16")[0] for name in ("whole.wav", "played.wav"))
    np.testing.assert_array_equal(played, whole)
    np.testing.assert_array_equal(np.frombuffer(result.stdout_bytes, "<i2"), whole)
    assert "`wavegen vocode` renders to a file first" in result.stderr
    begun = run(*words, "--seconds", 0.1).stdout_bytes
    assert begun == result.stdout_bytes[: len(begun)]
    assert len(begun) == 2 * 800


def test_evaluate_measures_it_and_lets_it_run_free(vocoder, monkeypatch):
    monkeypatch.setenv("WAVEGEN_DATA", str(vocoder.parent / "stores"))
    result = run("evaluate", vocoder, "--split", "validation", "--free-running", 0.1)
    assert "this model" in result.stdout
    assert "generated" in result.stdout
    for words in ("made again from their frames", "each from the frames of another", "Griffin-Lim"):
        assert words in " ".join(result.stdout.split())


def test_evaluate_listens_to_it_and_leaves_out_rows_whose_package_is_missing(vocoder, monkeypatch):
    monkeypatch.setenv("WAVEGEN_DATA", str(vocoder.parent / "stores"))
    monkeypatch.setitem(sys.modules, "pesq", None)
    result = run("evaluate", vocoder, "--split", "train", "--listen", "--utterances", 2, "--seconds", 1)
    assert "2 recordings of the train split, 1.5 s" in result.stdout
    for words in ("recording", "this model", "Griffin-Lim", "log-mel distance, dB", "HNR, dB", "pitch error, cents"):
        assert words in result.stdout
    assert "PESQ" not in result.stdout
    assert "made again from their frames" not in result.stdout
    remark = re.search("Rows that need (.*) are left out; (.*)", result.stderr)
    assert "pesq" in remark[1]
    assert remark[2] == 'to install: pip install "wavegen[evaluate]"'


VOICE = """
data:
  corpus: folder
  source: SOURCE
  sample_rate: 8000
  codec: linear
  n_classes: 65536
  pre_emphasis: 0.85
  features: {n_mels: 8, hop: 40, n_fft: 256, pitch: {lowest: 150}}
model:
  {kind: wavenet, n_blocks: 1, layers_per_block: 3, residual_channels: 8, gate_channels: 8, skip_channels: 8,
   head_channels: 8, frame_channels: 8, look_ahead: 1, prediction_order: 4, lag_taps: 2, head: logistic-mixture,
   n_mixtures: 2}
training:
  {steps: 3, batch_size: 2, window: 200, learning_rate: 1.0e-2, warm_up: 1, precision: float32, validate_every: 3,
   validation_seconds: 0.1, sample_seconds: 0.02, gain_db: 6}
decoding: {temperature: 0.8, voiced_temperature: 0.6}
"""


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """The run folder of a network that is told a prediction, beside the folder `in` of recordings."""
    folder = tmp_path_factory.mktemp("voice")
    source = write_recordings(folder / "in", n=12, seconds=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAVEGEN_DATA", str(folder / "stores"))
        training.train(recipe.parse(VOICE.replace("SOURCE", str(source)), "tiny"), folder / "run")
    return folder / "run"


def test_a_network_that_is_told_a_prediction_makes_a_recording_again(voice, tmp_path):
    recording, out = voice.parent / "in" / "low" / "1.wav", tmp_path / "again.wav"
    options = ("--seed", 3, "--engine", "reference")
    run("vocode", voice, recording, out, *options, "--frames", tmp_path / "frames.npy")
    made, rate = soundfile.read(out)
    assert (made.shape, rate) == ((2400,), 8000)
    assert np.load(tmp_path / "frames.npy").shape == (60, 12)
    features = wavegen.load(voice).description.make_features()

    def distance_db(sound):
        frames = [features.log_mel.frames(each) for each in (sound, soundfile.read(recording)[0])]
        return 50 * np.abs(frames[0] - frames[1]).mean()

    assert distance_db(made) < 1.5  # it has learnt next to nothing, and is matched to the bands
    run("vocode", voice, recording, tmp_path / "raw.wav", *options, "--no-match")
    assert distance_db(soundfile.read(tmp_path / "raw.wav")[0]) > 2 * distance_db(made)


def test_a_network_that_is_told_a_prediction_describes_what_it_needs(voice):
    described = wavegen.load(voice).description
    assert described.pre_emphasis == 0.85
    assert described.features["pitch"] == {"lowest": 150, "highest": 400}
    assert described.architecture.longest_period == 59
    assert (described.architecture.lag_taps, described.head.mean_scale) == (2, 1)
    assert described.decoding["voiced_temperature"] == 0.6
    assert described.bits["validation"] < 16
    assert soundfile.info(voice / "sample.wav").frames == 160
    shown = " ".join(run("models", "inspect", voice).stdout.replace("│", " ").split())
    for words in (
        "codec with 65536 classes, pre-emphasis 0.85",
        "features, pitch, lowest 150",
        "features, pitch, highest 400",
    ):
        assert words in shown


def test_an_interrupted_run_with_a_prediction_resumes_to_the_same_bits(voice, tmp_path, monkeypatch):
    monkeypatch.setenv("WAVEGEN_DATA", str(voice.parent / "stores"))
    original, steps = training.average_weights, []

    def interrupt(state, decay):
        original(state, decay)
        steps.append(state.step)
        if len(steps) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training, "average_weights", interrupt)
    for _ in range(2):
        text = VOICE.replace("SOURCE", str(voice.parent / "in"))
        training.train(recipe.parse(text, "tiny"), tmp_path / "run", resume=True)
    assert steps == [0, 1, 2]
    resumed, whole = (folder / "model.safetensors" for folder in (tmp_path / "run", voice))
    assert resumed.read_bytes() == whole.read_bytes()
