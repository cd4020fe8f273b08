import pytest

from tests.conftest import write_recordings
from wavegen.data import corpora, store
from wavegen.data.audio import SoundFormat
from wavegen.errors import InputError


def test_a_damaged_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no prepared corpus"):
        store.load(tmp_path)
    (tmp_path / "store.json").write_text(
        '{"format": 1, "corpus": "x", "sample_rate": 8000, "source": "", "fingerprint": ""}'
    )
    (tmp_path / "index.jsonl").write_text('{"name": "a", "start": 0, "n_samples": 9, "labels": {}, "subset": ""}\n')
    (tmp_path / "samples.i16").write_bytes(bytes(10))
    with pytest.raises(InputError, match=r"samples\.i16 and index disagree"):
        store.load(tmp_path)
    (tmp_path / "index.jsonl").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        store.load(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="of this version"):
        store.load(tmp_path)


@pytest.mark.parametrize("facts", ["{", '{"format": 0, "corpus": "folder"}', '{"format": 1}', "[]"])
def test_a_store_that_cannot_be_read_is_made_again(tmp_path, facts):
    source = write_recordings(tmp_path / "in")
    path, _ = corpora.prepare("folder", source, SoundFormat(8000))
    (path / "store.json").write_text(facts)
    assert store.prepared("folder") == []
    assert corpora.prepare("folder", source, SoundFormat(8000))[0] == path
    assert len(store.load(path).recordings) == 6
