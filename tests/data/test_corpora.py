import io
import itertools
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import REAL_DATA, write_recordings
from wavegen.codec import MuLaw
from wavegen.data import corpora, download, sources, splits, store
from wavegen.data.audio import SoundFormat
from wavegen.data.named import find_corpus
from wavegen.data.windows import Coder
from wavegen.errors import InputError
from wavegen.recipe import DigitsData, FolderData, LibriSpeechData, MusicData, SineData

RATE = 8000


def write_librispeech(folder: Path, n_speakers: int = 10, subset: str = "train-clean-5") -> Path:
    random = np.random.default_rng(0)
    for speaker in range(1, n_speakers + 1):
        for number in range(2):
            path = folder / "LibriSpeech" / subset / str(speaker) / "7" / f"{speaker}-7-{number:04d}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * random.standard_normal(4000), 16000)
    (folder / "LibriSpeech" / "README.TXT").write_text("not a recording")
    return folder


def folder_data(source: Path, **changes) -> FolderData:
    return FolderData(**{"corpus": "folder", "source": source, "sample_rate": RATE, **changes})


def librispeech_data(**changes) -> LibriSpeechData:
    return LibriSpeechData(**{"corpus": "librispeech", "sample_rate": 16000, **changes})


def test_a_folder_becomes_a_store_with_its_samples(tmp_path):
    write_recordings(tmp_path / "in")
    opened, report = corpora.open_corpus(folder_data(tmp_path / "in"))
    assert report is not None
    assert [recording.name for recording in opened.recordings] == [
        "high/0.wav", "high/2.wav", "high/4.wav", "low/1.wav", "low/3.wav", "low/5.wav"
    ]  # fmt: skip
    for recording in opened.recordings:
        samples = soundfile.read(tmp_path / "in" / recording.name, dtype="int16")[0]
        np.testing.assert_array_equal(opened.samples[recording.start :][: recording.n_samples], samples)


def test_a_prepared_folder_is_prepared_again_only_when_it_changed(tmp_path):
    write_recordings(tmp_path / "in")
    first, _ = corpora.open_corpus(folder_data(tmp_path / "in"))
    second, report = corpora.open_corpus(folder_data(tmp_path / "in"))
    assert report is None
    assert second.fingerprint == first.fingerprint
    soundfile.write(tmp_path / "in" / "new.wav", np.zeros(100), RATE)
    third, report = corpora.open_corpus(folder_data(tmp_path / "in"))
    assert report is not None
    assert len(third.recordings) == 7
    assert third.fingerprint != first.fingerprint


def test_preparing_that_is_interrupted_leaves_the_older_store_and_nothing_half_made(tmp_path, monkeypatch):
    write_recordings(tmp_path / "in")
    first, _ = corpora.open_corpus(folder_data(tmp_path / "in"))
    soundfile.write(tmp_path / "in" / "new.wav", np.zeros(100), RATE)
    decode, n_decoded = SoundFormat.decode, itertools.count(1)

    def interrupted(self, name, file, notes):
        if next(n_decoded) == 4:
            raise KeyboardInterrupt  # Ctrl-C
        yield from decode(self, name, file, notes)

    monkeypatch.setattr(SoundFormat, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        corpora.open_corpus(folder_data(tmp_path / "in"))
    assert [store.load(path).fingerprint for path in store.root().iterdir()] == [first.fingerprint]


def test_bad_recordings_are_left_out_by_name_and_the_rest_stays_whole(tmp_path):
    write_recordings(tmp_path / "in")
    (tmp_path / "in" / "high" / "1-broken.wav").write_bytes(b"RIFF????")
    soundfile.write(tmp_path / "in" / "nan.wav", np.array([0.1] * 5000 + [np.nan]), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "in" / "loud.wav", np.array([2.0, 0.0]), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "in" / "high" / "0-offset.wav", 0.36 + 0.1 * np.sin(np.arange(5000)), RATE)
    (tmp_path / "in" / "notes.txt").write_text("not a recording, so not in the report")
    opened, report = corpora.open_corpus(folder_data(tmp_path / "in"))
    assert set(report.left_out) == {"high/1-broken.wav", "nan.wav"}
    assert "NaN" in report.left_out["nan.wav"]
    assert report.clipped == {"loud.wav": 1}
    assert report.offsets == {
        "high/0-offset.wav": pytest.approx(0.36, abs=0.001),
        "loud.wav": pytest.approx(0.5, abs=0.001),
    }
    assert any(line.startswith("swings around +0.36 instead of 0") for line in report.lines())
    assert any(line.startswith("clipped 1 samples beyond full scale, by up to 6.0 dB; d") for line in report.lines())
    last = opened.recordings[-1]
    samples = soundfile.read(tmp_path / "in" / last.name, dtype="int16")[0]
    np.testing.assert_array_equal(opened.samples[last.start :][: last.n_samples], samples)


def test_more_bad_recordings_than_good_ones_are_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "good.wav", np.zeros(100), RATE)
    for number in range(2):
        (tmp_path / "in" / f"bad{number}.wav").write_text("x")
    with pytest.raises(InputError, match=r"2 of 3 recordings .* bad0\.wav"):
        corpora.open_corpus(folder_data(tmp_path / "in"))
    assert not list((tmp_path / "stores").iterdir())  # nothing half-written


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no"):
        corpora.open_corpus(folder_data(tmp_path / "none"))
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no recordings"):
        corpora.open_corpus(folder_data(tmp_path / "in"))
    with pytest.raises(InputError, match=r"--set data\.source=FOLDER"):
        corpora.open_corpus(folder_data(None))


def test_folders_linked_in_circles_end(tmp_path):
    write_recordings(tmp_path / "in")
    (tmp_path / "in" / "low" / "again").symlink_to(tmp_path / "in")
    assert len(list(sources.items_in(tmp_path / "in", SoundFormat(RATE)))) == 6


@pytest.mark.parametrize("kind", ["tar.gz", "tar", "zip"])
def test_archives_are_read_like_the_folder_they_hold(tmp_path, kind):
    write_recordings(tmp_path / "in")
    archive = tmp_path / "packed" / f"x.{kind}"
    archive.parent.mkdir()
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in sorted((tmp_path / "in").rglob("*.wav")):
                zipped.write(path, path.relative_to(tmp_path / "in"))
    else:
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as tar:
            for path in sorted((tmp_path / "in").rglob("*.wav")):
                tar.add(path, path.relative_to(tmp_path / "in"))
    plain, _ = corpora.open_corpus(folder_data(tmp_path / "in"))
    for source in (archive, archive.parent):  # the archive, and a folder that holds it
        packed, _ = corpora.open_corpus(folder_data(source))
        np.testing.assert_array_equal(packed.samples, plain.samples)
        assert packed.recordings == plain.recordings


def test_a_hostile_archive_writes_nothing_outside(tmp_path):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(100), RATE, format="WAV")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        entry = tarfile.TarInfo("../../escaped.wav")
        entry.size = len(file.getvalue())
        tar.addfile(entry, io.BytesIO(file.getvalue()))
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    opened, _ = corpora.open_corpus(folder_data(tmp_path / "x.tar"))
    assert len(opened.recordings) == 1
    assert not list(tmp_path.parent.rglob("escaped.wav"))


def test_a_truncated_archive_is_refused(tmp_path):
    write_recordings(tmp_path / "in", n=20)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "in", "in")
    whole = (tmp_path / "x.tar.gz").read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"archive .* is damaged or incomplete"):
        corpora.open_corpus(folder_data(tmp_path / "x.tar.gz"))


def test_one_bit_that_is_wrong_in_an_archive_is_found(tmp_path):
    write_recordings(tmp_path / "in")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "in", "in")
    whole = bytearray((tmp_path / "x.tar.gz").read_bytes())
    whole[-8] ^= 1  # the first byte of the check sum
    (tmp_path / "x.tar.gz").write_bytes(whole)
    with pytest.raises(InputError, match=r"archive .* is damaged or incomplete \(CRC check failed"):
        corpora.open_corpus(folder_data(tmp_path / "x.tar.gz"))
    with pytest.raises(InputError, match="is no whole archive"):
        sources.check_archive(tmp_path / "x.tar.gz")


def test_an_archive_of_a_folder_has_the_labels_of_the_folder(tmp_path):
    write_recordings(tmp_path / "in")
    soundfile.write(tmp_path / "in" / "alone.wav", np.zeros(400), 8000)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "in", "./some/in")
    found = {}
    for source in (tmp_path / "in", tmp_path / "x.tar.gz"):
        data = folder_data(source, labels_from_folders="register")
        segments = [s for part in splits.split(data, corpora.open_corpus(data)[0].recordings).values() for s in part]
        found[source.name] = sorted((s.name.removeprefix("some/in/"), tuple(s.labels.items())) for s in segments)
    assert found["in"] == found["x.tar.gz"]
    assert ("alone.wav", ()) in found["in"]


def test_labels_come_from_the_first_sub_folder(tmp_path):
    write_recordings(tmp_path / "in")
    data = folder_data(tmp_path / "in", labels_from_folders="register")
    opened, _ = corpora.open_corpus(data)
    segments = splits.split(data, opened.recordings)
    everything = [segment for part in segments.values() for segment in part]
    assert {(s.name.split("/")[0], s.labels["register"]) for s in everything} == {("high", "high"), ("low", "low")}
    assert splits.label_values(everything) == {"register": ["high", "low"]}
    assert splits.label_values(splits.split(folder_data(tmp_path / "in"), opened.recordings)["train"]) == {}


def test_splits_share_no_recording(tmp_path):
    write_recordings(tmp_path / "in", n=23, seconds=0.05)
    data = folder_data(tmp_path / "in")
    opened, _ = corpora.open_corpus(data)
    segments = splits.split(data, opened.recordings)
    names = [{segment.name for segment in part} for part in segments.values()]
    assert sum(map(len, names)) == len(set.union(*names)) == 23
    assert [len(part) for part in segments.values()] == [17, 3, 3]


def test_splits_by_time_leave_a_gap(tmp_path):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "long.wav", np.zeros(40 * RATE), RATE)
    data = folder_data(tmp_path / "in", split="time")
    opened, _ = corpora.open_corpus(data)
    train, validation, test = (part[0] for part in splits.split(data, opened.recordings).values())
    assert train.at_start
    assert not validation.at_start
    assert validation.start - (train.start + train.n_samples) == RATE
    assert test.start - (validation.start + validation.n_samples) == RATE
    assert test.start + test.n_samples == 40 * RATE


@pytest.mark.parametrize("seconds", [0.5, 3.0, 10.0])
def test_one_short_recording_can_be_split_by_time(tmp_path, seconds):
    soundfile.write(tmp_path / "x.wav", np.zeros(round(seconds * RATE)), RATE)
    data = folder_data(tmp_path / "x.wav", split="time")
    parts = splits.split(data, corpora.open_corpus(data)[0].recordings)
    train, validation, test = (part[0] for part in parts.values())
    assert train.n_samples == round(0.8 * seconds * RATE)
    for before, after in ((train, validation), (validation, test)):
        assert after.start - before.start - before.n_samples == pytest.approx(seconds * RATE / 20, abs=1)
    assert validation.n_samples == pytest.approx(seconds * RATE / 20, abs=1)


def test_too_few_recordings_to_split_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "only.wav", np.zeros(40 * RATE), RATE)
    data = folder_data(tmp_path / "in")
    opened, _ = corpora.open_corpus(data)
    with pytest.raises(
        InputError, match=r"train and validation split of 1 file; expected at least 3, or data\.split: time"
    ):
        splits.split(data, opened.recordings)


def test_librispeech_is_split_by_speaker_or_officially(tmp_path):
    write_librispeech(tmp_path / "in", n_speakers=20)
    path, report = corpora.prepare("librispeech", tmp_path / "in", SoundFormat(16000))
    assert report.n_recordings == 40
    data = librispeech_data(split="speaker", labels=["speaker"])
    opened, _ = corpora.open_corpus(data)
    segments = splits.split(data, opened.recordings)
    speakers = {name: {segment.labels["speaker"] for segment in part} for name, part in segments.items()}
    assert {name: len(part) for name, part in speakers.items()} == {"train": 14, "validation": 2, "test": 4}
    assert len(set.union(*speakers.values())) == 20
    with pytest.raises(InputError, match="validation split"):
        splits.split(librispeech_data(split="official"), opened.recordings)
    assert path.name.startswith("librispeech-16000-")


def test_official_librispeech_splits_follow_the_folders(tmp_path):
    for subset in ("train-clean-100", "dev-clean", "test-other"):
        write_librispeech(tmp_path / "in", n_speakers=2, subset=subset)
    data = librispeech_data(source=tmp_path / "in")
    opened, _ = corpora.open_corpus(data)
    segments = splits.split(data, opened.recordings)
    found = {name: {segment.name.split("/")[1] for segment in part} for name, part in segments.items()}
    assert found == {"train": {"train-clean-100"}, "validation": {"dev-clean"}, "test": {"test-other"}}


def test_a_corpus_that_is_not_there_says_where_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"wavegen data prepare librispeech.*openslr\.org.*--from"):
        corpora.open_corpus(librispeech_data())
    write_recordings(tmp_path / "in")
    with pytest.raises(InputError, match="the layout of librispeech"):
        corpora.prepare("librispeech", tmp_path / "in", SoundFormat(16000))
    with pytest.raises(InputError, match="unknown corpus 'libri'"):
        find_corpus("libri")


def test_several_sources_of_one_corpus_live_side_by_side(tmp_path):
    for name, n in {"a": 10, "b": 20}.items():
        write_librispeech(tmp_path / name, n_speakers=n)
        corpora.prepare("librispeech", tmp_path / name, SoundFormat(16000))
    with pytest.raises(
        InputError, match=r"prepared from 2 sources at 16000 Hz; choose with --set data\.source=.*/a or"
    ):
        corpora.open_corpus(librispeech_data())
    opened, report = corpora.open_corpus(librispeech_data(source=tmp_path / "b"))
    assert (len(opened.recordings), report) == (40, None)


def test_a_song_beside_the_archives_does_not_hide_them(tmp_path):
    write_librispeech(tmp_path / "in")
    (tmp_path / "downloads").mkdir()
    with tarfile.open(tmp_path / "downloads" / "x.tar", "w") as tar:
        tar.add(tmp_path / "in" / "LibriSpeech", "LibriSpeech")
    soundfile.write(tmp_path / "downloads" / "song.wav", np.zeros(100), RATE)
    _, report = corpora.prepare("librispeech", tmp_path / "downloads", SoundFormat(16000))
    assert report.n_recordings == 20


def test_labels_from_folders_need_folders(tmp_path):
    for path in list(write_recordings(tmp_path / "in").rglob("*.wav")):
        path.rename(tmp_path / "in" / path.name)
    data = folder_data(tmp_path / "in", labels_from_folders="register")
    with pytest.raises(InputError, match="lie in no sub-folders"):
        splits.split(data, corpora.open_corpus(data)[0].recordings)


def test_impossible_sines_are_refused():
    with pytest.raises(InputError, match="holds 4000 Hz; at 8000 Hz they must lie below 4000"):
        corpora.open_corpus(SineData(corpus="sine", sample_rate=RATE, frequencies=[100, 4000]))
    with pytest.raises(InputError, match="at least one amplitude"):
        corpora.open_corpus(SineData(corpus="sine", sample_rate=RATE, frequencies=[100], harmonics=[0]))


def test_every_split_of_sines_hears_every_frequency():
    data = SineData(corpus="sine", sample_rate=RATE, frequencies=[500, 1000], n_recordings=20, seconds=1)
    opened, _ = corpora.open_corpus(data)
    for part in splits.split(data, opened.recordings).values():
        spectra = [np.abs(np.fft.rfft(opened.samples[s.start : s.start + s.n_samples])) for s in part]
        assert {int(spectrum.argmax()) for spectrum in spectra} == {500, 1000}


def test_a_sine_is_what_the_recipe_says():
    data = SineData(corpus="sine", sample_rate=RATE, frequencies=[500, 1000], noise_db=-40, seconds=1, amplitude=0.25)
    opened, _ = corpora.open_corpus(data)
    for recording, frequency in zip(opened.recordings[:2], (500, 1000), strict=True):
        waveform = opened.samples[recording.start :][: recording.n_samples] / 32768
        power = np.abs(np.fft.rfft(waveform)) ** 2
        assert power.argmax() == frequency
        noise = power.sum() - power[frequency - 1 : frequency + 2].sum()
        assert abs(10 * np.log10(noise / power[frequency]) + 40) < 1
        assert abs(np.abs(waveform).max() - 0.25) < 0.02


def test_harmonics_above_half_the_rate_are_left_out():
    data = SineData(corpus="sine", sample_rate=RATE, frequencies=[3000], harmonics=[1, 1], seconds=1)
    opened, _ = corpora.open_corpus(data)
    power = np.abs(np.fft.rfft(opened.samples[:RATE])) ** 2
    assert power[3000] / power.sum() > 0.999


@pytest.mark.exhaustive
@pytest.mark.skipif(not (REAL_DATA / "librispeech").exists(), reason="the real recordings are not here")
def test_the_real_librispeech_sample_prepares_whole():
    path, report = corpora.prepare("librispeech", REAL_DATA / "librispeech", SoundFormat(16000))
    assert (report.n_recordings, len(report.left_out)) == (266, 0)
    assert abs(report.n_values / 16000 / 60 - 53.1) < 0.1
    lines = (REAL_DATA / "librispeech" / "FILES.tsv").read_text().splitlines()[1:]
    promised = {line.split("\t")[0]: int(line.split("\t")[1]) for line in lines}
    assert {recording.name: recording.n_samples for recording in store.load(path).recordings} == promised
    data = librispeech_data(split="speaker")
    segments = splits.split(data, store.load(path).recordings)
    held_out = {segment.name.split("/")[2] for segment in segments["test"]}
    assert held_out == {"1088", "19", "32", "3947", "6272"}
    first = segments["test"][0]
    assert MuLaw(256).silence in Coder(store.load(path), MuLaw(256)).codes(first.start, first.n_samples)


def write_digits(folder: Path) -> Path:
    path = folder / "free-spoken-digit-dataset" / "recordings"
    path.mkdir(parents=True)
    for digit in range(3):
        for speaker in ("theo", "lucas"):
            for index in range(9):
                soundfile.write(path / f"{digit}_{speaker}_{index}.wav", np.full(200, 0.01 * index), RATE)
    (path.parent / "metadata.py").write_text("not a recording")
    return folder


def test_digits_have_their_labels_and_official_split(tmp_path):
    write_digits(tmp_path / "in")
    data = DigitsData(corpus="digits", sample_rate=RATE, source=tmp_path / "in")
    opened, report = corpora.open_corpus(data)
    assert (report.n_recordings, report.n_speakers) == (54, 2)
    segments = splits.split(data, opened.recordings)
    indices = {name: {segment.name[-5] for segment in part} for name, part in segments.items()}
    assert indices == {"test": set("01234"), "validation": set("56"), "train": set("78")}
    assert splits.label_values(segments["train"]) == {"digit": ["0", "1", "2"], "speaker": ["lucas", "theo"]}
    assert splits.label_values(splits.split(data.model_copy(update={"labels": []}), opened.recordings)["train"]) == {}


def test_a_corpus_of_links_is_known_by_the_names_of_the_links(tmp_path):
    """As Hugging Face's cache and git-annex lay files out."""
    real = write_digits(tmp_path / "in")
    for number, path in enumerate(sorted(real.rglob("*.wav"))):
        (tmp_path / "blobs").mkdir(exist_ok=True)
        path.rename(tmp_path / "blobs" / f"{number:x}")
        path.symlink_to(tmp_path / "blobs" / f"{number:x}")
    data = DigitsData(corpus="digits", sample_rate=RATE, source=real)
    assert corpora.open_corpus(data)[1].n_recordings == 54


def test_music_takes_its_pieces_and_splits_each_by_time(tmp_path):
    (tmp_path / "in").mkdir()
    for name, rate in (("gold-rush.mp3", 48000), ("humpback-glacier-bay.ogg", 44100)):
        soundfile.write(tmp_path / "in" / name, 0.1 * np.random.default_rng(0).standard_normal(30 * rate), rate)
    soundfile.write(tmp_path / "in" / "gold-rush-16k-mono.flac", np.zeros(16000), 16000)  # the same piece again
    data = MusicData(corpus="music", sample_rate=RATE, source=tmp_path / "in", labels=["piece"])
    opened, _ = corpora.open_corpus(data)
    assert {recording.name for recording in opened.recordings} == {"gold-rush.mp3", "humpback-glacier-bay.ogg"}
    segments = splits.split(data, opened.recordings)
    assert [len(part) for part in segments.values()] == [2, 2, 2]
    for name in ("gold-rush", "humpback-glacier-bay"):
        parts = [next(s for s in part if s.labels["piece"] == name) for part in segments.values()]
        for before, after in itertools.pairwise(parts):
            assert after.start - (before.start + before.n_samples) == pytest.approx(RATE, abs=1)


def test_parts_are_fetched_by_name_and_unknown_ones_refused_first(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(download, "fetch", lambda remote, folder, check: fetched.append((remote.name, folder.name)))
    corpora.fetch_named(find_corpus("librispeech"), [])
    assert fetched == [(f"{part}.tar.gz", "librispeech") for part in ("train-clean-100", "dev-clean", "test-clean")]
    with pytest.raises(InputError, match="librispeech has no part 'train'; its parts are dev-clean, dev-other"):
        corpora.fetch_named(find_corpus("librispeech"), ["dev-clean", "train"])
    assert len(fetched) == 3


@pytest.mark.exhaustive
@pytest.mark.skipif(not (REAL_DATA / "fsdd").exists(), reason="the real recordings are not here")
def test_the_real_digits_prepare_whole():
    path, report = corpora.prepare("digits", REAL_DATA / "fsdd", SoundFormat(RATE))
    assert (report.n_recordings, report.n_speakers, len(report.left_out)) == (3000, 6, 0)
    assert abs(report.n_values / RATE / 60 - 21.87) < 0.01
    data = DigitsData(corpus="digits", sample_rate=RATE)
    parts = splits.split(data, store.load(path).recordings)
    assert {name: len(part) for name, part in parts.items()} == {"train": 2580, "validation": 120, "test": 300}


@pytest.mark.exhaustive
@pytest.mark.skipif(not (REAL_DATA / "music").exists(), reason="the real recordings are not here")
def test_the_real_music_prepares_whole():
    _, report = corpora.prepare("music", REAL_DATA / "music", SoundFormat(16000))
    assert (report.n_recordings, len(report.left_out)) == (4, 0)
    assert abs(report.n_values / 16000 - 278.3) < 1
