import pytest

from wavegen.data import store
from wavegen.errors import InputError


def test_a_damaged_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no prepared corpus"):
        store.load(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 1, "corpus": "x", "sample_rate": 8000, "fingerprint": ""}')
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
