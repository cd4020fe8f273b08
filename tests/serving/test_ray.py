"""The service and jobs on a Ray cluster: two machines of a core each, which are processes here."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

import wavegen
from tests.conftest import write_recordings
from tests.serving.conftest import downloading
from tests.serving.test_http import until
from wavegen.cli.main import make_app
from wavegen.data import audio
from wavegen.errors import InputError

pytest.importorskip("ray")
connect = pytest.importorskip("websockets.sync.client").connect
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own settings

HELLO = {"type": "hello", "model": "digits", "seed": 1, "labels": {"digit": "7"}}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[str]:
    """The address of a cluster of two machines, to which this process is connected."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_SERVE_LOG_TO_STDERR", "RAY_worker_niceness", "RAY_USAGE_STATS_ENABLED"):
            patch.setenv(name, "0")
        import ray
        from ray.cluster_utils import Cluster

        from wavegen.cluster import connected

        machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        machines.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", machines.address)
        with connected():
            assert ray.cluster_resources()["CPU"] == 2 and len(ray.nodes()) == 2
            yield machines.address
        machines.shutdown()


def kill(title: str, n: int = 99) -> int:
    """Kill up to n worker processes of this cluster whose titles begin so; returns how many there were."""
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            titles[pid] = (entry / "cmdline").read_bytes().decode(errors="replace")
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])

    def is_ours(pid: int) -> bool:
        while pid in parents:
            if pid == os.getpid():
                return True
            pid = parents[pid]
        return False

    found = [pid for pid, text in titles.items() if text.startswith(title) and is_ours(pid)][:n]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return len(found)


def run(*words: object) -> list[str]:
    """A command in this process; returns the lines of stdout."""
    result = CliRunner().invoke(make_app(), list(map(str, words)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the record of a job."""
    paths = [one for one in folder.rglob("*") if one.is_file() and not one.name.endswith(".job.json")]
    return {str(one.relative_to(folder)): one.read_bytes() for one in paths}


def when(is_so: Callable[[], bool], what: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a condition holds, in a thread."""

    def wait() -> None:
        until(is_so, 60)
        what()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_job_whose_workers_are_killed_makes_the_files_of_one_machine(tmp_path: Path) -> None:
    words = ("generate", "digits", "--n", 16, "--seconds", 3, "--seed", 1)
    run(*words, "--out", tmp_path / "one" / "take.wav")
    many, n_killed = tmp_path / "many", 0

    def kill_workers() -> None:
        nonlocal n_killed
        while not n_killed and not any(many.glob("take-16.wav")):
            n_killed = kill("ray::_make")

    killing = when(lambda: any(many.glob(".*.partial*")), kill_workers)
    names = run(*words, "--out", many / "take.wav", "--ray")
    killing.join()
    assert n_killed >= 1
    assert contents(many) == contents(tmp_path / "one")
    assert sorted(names) == sorted(str(many / f"take-{number}.wav") for number in range(1, 17))


def test_what_ctrl_c_leaves_is_gone_on_with(tmp_path: Path) -> None:
    words = ("generate", "digits", "--n", "32", "--seconds", "0.3", "--seed", "1")
    out = tmp_path / "many" / "take.wav"
    command = [sys.executable, "-m", "wavegen", *words, "--out", str(out), "--ray"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until(lambda: any(out.parent.glob("take-*.wav")), 60)
        running.send_signal(signal.SIGINT)
        said, remarks = running.communicate(timeout=60)
    assert running.returncode == 0, remarks
    there = {path.name: path.stat().st_mtime_ns for path in out.parent.glob("*.wav")}
    assert 0 < len(there) < 32 and f"Stopped; {len(there)} of 32 are written" in remarks
    assert sorted(said.splitlines()) == sorted(str(out.parent / name) for name in there)
    assert set(contents(out.parent)) == set(there)  # and nothing half made

    names = run(*words, "--out", out, "--ray")
    assert not {Path(name).name for name in names} & set(there) and len(names) == 32 - len(there)
    assert all((out.parent / name).stat().st_mtime_ns == time_ns for name, time_ns in there.items())
    run(*words, "--out", tmp_path / "one" / "take.wav")
    assert contents(out.parent) == contents(tmp_path / "one")
    assert run(*words, "--out", out, "--ray") == []


def test_a_job_goes_on_with_its_own_options_and_files_only(tmp_path: Path) -> None:
    words = ("generate", "music", "--seconds", 0.01, "--out", tmp_path / "take.wav", "--ray")
    run(*words, "--seed", 1, "--n", 3)
    with pytest.raises(InputError, match=r"take\.job\.json is of a job whose seed is 1, and here it is 2"):
        run(*words, "--seed", 2, "--n", 3)
    with pytest.raises(InputError, match="whose temperature is None, and here it is"):
        run(*words, "--seed", 1, "--n", 3, "--temperature", 0.5)
    (tmp_path / "take-5.wav").write_bytes(b"somebody's")
    with pytest.raises(InputError, match=r"take-5\.wav is there, and take\.job\.json does not say of what"):
        run(*words, "--seed", 1, "--n", 5)
    (tmp_path / "take-5.wav").unlink()
    assert len(run(*words, "--seed", 1, "--n", 5)) == 2
    assert len(run(*words, "--seed", 1, "--n", 5, "--plot")) == 10  # whose pictures were missing
    (tmp_path / "take.job.json").write_text("{")
    with pytest.raises(InputError, match="no record of a job"):
        run(*words, "--seed", 1, "--n", 5)


def test_a_folder_is_made_again_and_of_what_changed_anew(tmp_path: Path) -> None:
    source, out = write_recordings(tmp_path / "in", n=6, rate=16000, seconds=0.1), tmp_path / "many"
    (source / "broken.wav").write_bytes(b"RIFF")
    words = ("vocode", "vocoder", source)
    run(*words, tmp_path / "one", "--seed", 1)
    run(*words, out, "--seed", 1, "--ray")
    assert len(contents(out)) == 6 and contents(out) == contents(tmp_path / "one")
    write_recordings(tmp_path / "other", n=1, rate=16000, seconds=0.2)
    (tmp_path / "other" / "high" / "0.wav").replace(source / "high" / "0.wav")
    assert run(*words, out, "--seed", 1, "--ray") == [str(out / "high" / "0.wav")]
    run(*words, tmp_path / "two", "--seed", 1)
    assert contents(out) == contents(tmp_path / "two")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("generate", "digits", "--n", "1"), "--n is 1"),
        (("generate", "music", "--n", "2", "--beam", "4"), "--beam makes one"),
        (("vocode", "vocoder", "in.wav", "out.wav"), "IN is one"),
        (("serve", "digits", "--grpc", "8001"), "--grpc asks for gRPC"),
        (("serve", "nobody"), "there is no model nobody"),
        (
            ("generate", "digits", "--n", "2", "--device", "cuda", "--engine", "reference"),
            "no machine of this cluster",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(words: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    write_recordings(tmp_path, n=1)
    (tmp_path / "high" / "0.wav").rename(tmp_path / "in.wav")
    out = ("--out", str(tmp_path / "take.wav")) if words[0] == "generate" else ()
    words = tuple(str(tmp_path / word) if word in ("in.wav", "out.wav") else word for word in words)
    with pytest.raises(InputError, match=re.escape(sentence)):
        run(*words, *out, "--ray")


def test_without_ray_commands_do_not_import_it(tmp_path: Path) -> None:
    code = (
        "import sys; from wavegen.cli.main import make_app; make_app()(sys.argv[1:], standalone_mode=False);"
        "sys.exit('ray' in sys.modules)"
    )
    words = ["generate", "music", "--n", "2", "--seconds", "0.01", "--out", tmp_path / "take.wav"]
    assert subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True).returncode == 0


class Listener(threading.Thread):
    """A client of a live stream: how much it has heard, and how that ended."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address.replace("http", "ws") + "/v1/live"
        self.data, self.end, self._leaves = b"", "", False
        self.start()

    def leave(self) -> None:
        """Hear no more."""
        self._leaves = True
        self.join(60)

    def run(self) -> None:
        try:
            with connect(self._address, open_timeout=60) as socket:
                socket.send(json.dumps(HELLO))
                while not self.end and not self._leaves:
                    message = socket.recv(timeout=60)
                    if isinstance(message, bytes):
                        self.data += message
                    elif (told := json.loads(message))["type"] in ("end", "error"):
                        self.end = told.get("reason") or f"error: {told['detail']}"
        except ConnectionClosed:
            self.end = "broken off"


@pytest.fixture
def process(cluster: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`wavegen serve --ray` as a process, and its address; before the module has a service of its own."""
    command = [sys.executable, "-m", "wavegen", "serve", "digits", "--ray", "--max-streams", "4", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        lines = []
        while not (found := re.search(r"Serving on (http://\S+);", lines[-1] if lines else "")):
            lines.append(running.stderr.readline())
            assert lines[-1], lines
        yield running, found[1]
        running.kill()


def test_sigterm_ends_streams_with_a_reason_and_completes_files(process: tuple[subprocess.Popen[str], str]) -> None:
    running, address = process
    listener = Listener(address)
    told: dict[str, object] = {}

    download = downloading(address, "digits", 20, told)
    download.start()
    until(lambda: bool(listener.data) and "begun" in told, 60)
    running.send_signal(signal.SIGTERM)
    download.join(60)
    listener.join(60)
    assert listener.end == "the service is ending" and told["bytes"] == 20 * 2 * 8000
    said, remarks = running.communicate(timeout=60)
    assert running.returncode == 0 and said == "" and remarks == "", (said, remarks)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a service of two replicas answers."""
    from ray import serve

    from wavegen.serving import ray as of_ray
    from wavegen.serving.server import listening_socket

    options = of_ray.Options.model_validate({"models": "digits,mnist", "max_streams": "8", "min_replicas": "2"})
    with listening_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(of_ray.make_application(options), name=of_ray.NAME)
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def test_it_answers_as_one_machine_does(address: str) -> None:
    asked = {"model": "digits", "seconds": 0.5, "seed": 1, "labels": {"digit": "7"}, "format": "pcm"}
    made = wavegen.load("digits").generate(2, seed=1, labels={"digit": "7"}).samples
    samples, half = audio.as_int16(made), wavegen.load("digits").generate(0.5, seed=1, labels={"digit": "7"}).samples
    with httpx.Client(base_url=address, timeout=60) as client:
        assert client.post("/v1/sounds", json=asked).content == audio.as_int16(half).tobytes()
        assert client.get("/v1/models").json()["models"][0]["live_places"] == 8
        assert client.post("/v1/sounds", json={"model": "nobody"}).status_code == 404
        assert client.post("/v1/images", json={"model": "mnist", "n": 1}).content.startswith(b"\x89PNG")
    listener = Listener(address)
    until(lambda: len(listener.data) >= 6000, 60)
    np.testing.assert_array_equal(np.frombuffer(listener.data[:6000], "<i2"), samples[:3000])
    listener.leave()


def test_metrics_are_of_all_replicas(address: str) -> None:
    def counted(name: str) -> dict[str, float]:
        text = client.get("/metrics").text
        found = re.findall(rf'^{name}{{.*replica="(\w+)".*}} (\S+)$', text, re.MULTILINE)
        return {replica: float(value) for replica, value in found}

    with httpx.Client(base_url=address, timeout=60) as client:
        until(lambda: len(counted("wavegen_queue")) == 2, 60)
        before = sum(counted("wavegen_images_total").values())
        for _ in range(6):
            client.post("/v1/images", json={"model": "mnist", "n": 1})
        until(lambda: sum(counted("wavegen_images_total").values()) >= before + 6, 60)


def test_another_service_is_not_begun_where_one_is(address: str) -> None:
    with pytest.raises(InputError, match="this cluster serves already"):
        run("serve", "digits", "--ray", "--max-streams", 1)


def test_streams_are_shared_among_replicas_and_end_with_theirs_alone(address: str) -> None:
    listeners = [Listener(address) for _ in range(6)]
    until(lambda: all(one.data or one.end for one in listeners), 60)
    assert not any(one.end for one in listeners), [one.end for one in listeners]
    assert kill("ray::ServeReplica:wavegen:service", 1) == 1
    until(lambda: any(one.end for one in listeners), 60)
    time.sleep(1)
    ended = [one for one in listeners if one.end]
    heard = [len(one.data) for one in listeners if not one.end]
    assert {one.end for one in ended} == {"broken off"} and 0 < len(ended) < 6
    until(lambda: all(len(one.data) > n for one, n in zip(set(listeners) - set(ended), heard, strict=True)), 60)
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(4):
            assert client.post("/v1/sounds", json={"model": "digits", "seconds": 0.1}).status_code == 200
    for one in listeners:
        one.leave()


def test_streams_of_a_replica_that_others_replace_go_on_until_the_application_ends(address: str) -> None:
    from ray import serve

    from wavegen.serving import ray as of_ray

    def replicas() -> dict[str, int]:
        return serve.status().applications[of_ray.NAME].deployments["service"].replica_states

    until(lambda: replicas() == {"RUNNING": 2}, 60)
    listeners = [Listener(address) for _ in range(6)]
    until(lambda: all(one.data or one.end for one in listeners), 60)
    assert not any(one.end for one in listeners), [one.end for one in listeners]
    application = of_ray.make_application(of_ray.Options(models=("digits",), max_streams=8, max_replicas=1))
    serve.run_many([serve.RunTarget(application, name=of_ray.NAME)], wait_for_applications_running=False)
    until(lambda: "STOPPING" in replicas(), 60)
    heard = [len(one.data) for one in listeners]
    time.sleep(2)
    assert all(not one.end and len(one.data) > n for one, n in zip(listeners, heard, strict=True))
    serve.delete(of_ray.NAME)
    for one in listeners:
        one.join(60)
    assert {one.end for one in listeners} == {"the service is ending"}
