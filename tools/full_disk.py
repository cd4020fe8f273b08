"""Run a command of wavegen as if the disk were full: no file may grow beyond a number of bytes."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path


def run_on_full_disk(max_bytes: int, *words: object, stores: Path) -> subprocess.CompletedProcess[str]:
    """The command's result; a write beyond `max_bytes` of a file fails in it with "File too large"."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails instead of killing
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))

    return subprocess.run(
        [sys.executable, "-m", "wavegen.cli.main", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "WAVEGEN_DATA": str(stores)},
        preexec_fn=limit,
    )


def assert_one_sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command ended with exit code 2, and its last line is a sentence with these words in it."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("wavegen: ")
    for word in ("File too large", *words):
        assert word in last, last
