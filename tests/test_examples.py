"""The examples in docstrings, run."""

import doctest
import importlib

import pytest

MODULES = (
    "wavegen",
    "wavegen.architectures",
    "wavegen.checkpoint",
    "wavegen.codec",
    "wavegen.data.audio",
    "wavegen.features.frame_stream",
    "wavegen.features.frames",
    "wavegen.features.linear_prediction",
    "wavegen.features.log_mel",
    "wavegen.features.matching",
    "wavegen.features.pitch",
    "wavegen.generation.blocks",
    "wavegen.generation.scheduler",
    "wavegen.generation.session",
    "wavegen.progress",
    "wavegen.recipe",
    "wavegen.sampling",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_are_true(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
