"""The service by HTTP: what comes back is what the commands make, and what does not fit is told in one sentence."""

import base64
import io
import json
import time
import zipfile
from email import message_from_bytes
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from PIL import Image

import wavegen
from tests.serving.conftest import Running
from wavegen.data import audio
from wavegen.errors import InputError
from wavegen.generation.session import Output

CLAIMS_MUCH = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 80), }"
SEVEN = {"model": "digits", "seconds": 0.3, "seed": 1, "labels": {"digit": "7"}}


def made(seconds: float = 0.3, **options: object) -> np.ndarray:
    """What `wavegen generate` makes of the same options, as 16-bit samples."""
    return audio.as_int16(wavegen.load("digits").generate(seconds, seed=1, labels={"digit": "7"}, **options).samples)


def problem_of(answer) -> str:
    """The sentence of an answer that refuses."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail"} and told["status"] == answer.status_code
    assert "Traceback" not in told["detail"] and len(told["detail"]) < 500
    return told["detail"]


def test_a_sound_is_the_file_that_generate_writes(running: Running, tmp_path: Path) -> None:
    answer = running.client.post("/v1/sounds", json=SEVEN)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    assert answer.headers["wavegen-seed"] == "1"
    audio.write(tmp_path / "seven.wav", made().astype(np.float32) / 32768, 8000)
    assert answer.content == (tmp_path / "seven.wav").read_bytes()


def test_a_fresh_seed_is_told_and_makes_the_sound_again(running: Running) -> None:
    asked = {"model": "music", "seconds": 0.1, "format": "pcm"}
    first = running.client.post("/v1/sounds", json=asked)
    again = running.client.post("/v1/sounds", json={**asked, "seed": int(first.headers["wavegen-seed"])})
    assert first.content == again.content and len(first.content) == 2 * 1600


def test_a_streamed_sound_has_one_header_and_then_data_only(running: Running) -> None:
    with running.client.stream("POST", "/v1/sounds", json={**SEVEN, "seconds": 1, "stream": True}) as answer:
        pieces = list(answer.iter_raw())
    data = b"".join(pieces)
    assert data[:4] == b"RIFF" and data[4:8] == data[40:44] == b"\xff\xff\xff\xff" and data.count(b"RIFF") == 1
    np.testing.assert_array_equal(np.frombuffer(data[44:], "<i2"), made(1))
    assert len(pieces) > 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["flac", "opus", "pcm"])
def test_formats_hold_the_same_sound(running: Running, name: str, stream: bool) -> None:
    answer = running.client.post("/v1/sounds", json={**SEVEN, "format": name, "stream": stream})
    if name == "pcm":
        samples = np.frombuffer(answer.content, "<i2")
    else:
        samples = np.concatenate(list(audio.decode(io.BytesIO(answer.content), 8000, audio.Facts())))
    if name != "opus":  # which loses something
        np.testing.assert_array_equal(samples, made())
    assert abs(len(samples) - 2400) < (1 if name != "opus" else 400)


def test_several_sounds_are_those_of_their_numbers(running: Running) -> None:
    answer = running.client.post("/v1/sounds", json={**SEVEN, "n": 3, "first": 1})
    expected = wavegen.load("digits").generate(0.3, seed=1, labels={"digit": "7"}, n=4).samples
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [f"digits-{number}.wav" for number in (1, 2, 3)]
        for number in (1, 2, 3):
            samples, _ = soundfile.read(io.BytesIO(archive.read(f"digits-{number}.wav")), dtype="int16")
            np.testing.assert_array_equal(samples, audio.as_int16(expected[number]))


def test_several_sounds_come_in_parts_as_well(running: Running) -> None:
    answer = running.client.post("/v1/sounds", json={**SEVEN, "n": 2, "bundle": "multipart"})
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + answer.content).get_payload()
    assert [part.get_filename() for part in parts] == ["digits-0.wav", "digits-1.wav"]
    samples, _ = soundfile.read(io.BytesIO(parts[0].get_payload(decode=True)), dtype="int16")
    np.testing.assert_array_equal(samples, made())


def test_a_sound_goes_on_from_a_recording(running: Running) -> None:
    before = io.BytesIO()
    soundfile.write(before, np.sin(np.arange(3000) * 0.1) * 0.3, 16000, format="WAV", subtype="PCM_16")
    asked = {"model": "music", "seconds": 0.1, "seed": 3, "format": "pcm"}
    answer = running.client.post("/v1/sounds", json={**asked, "prime": base64.b64encode(before.getvalue()).decode()})
    prime = audio.to_waveform(np.concatenate(list(audio.decode(io.BytesIO(before.getvalue()), 16000, audio.Facts()))))
    expected = wavegen.load("music").generate(0.1, seed=3, prime=prime).samples
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<i2"), audio.as_int16(expected))


def recording(seconds: float = 0.5) -> bytes:
    file = io.BytesIO()
    steps = np.arange(round(16000 * seconds))
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * 220 / 16000 * steps), 16000, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def test_a_recording_is_made_again_as_the_command_makes_it(running: Running, tmp_path: Path) -> None:
    (tmp_path / "tone.flac").write_bytes(recording())
    answer = running.client.post("/v1/vocode?model=vocoder&seed=1&format=pcm", content=recording())
    expected = wavegen.load("vocoder").vocode(tmp_path / "tone.flac", seed=1).samples
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<i2"), audio.as_int16(expected))


def test_frames_are_made_sound(running: Running) -> None:
    model, file = wavegen.load("vocoder"), io.BytesIO()
    frames, _ = model.frames_of(0.3 * np.sin(np.arange(4000) * 0.1))
    np.save(file, frames)
    answer = running.client.post("/v1/vocode?model=vocoder&seed=1&format=pcm", content=file.getvalue())
    np.testing.assert_array_equal(
        np.frombuffer(answer.content, "<i2"), audio.as_int16(model.vocode(frames, seed=1).samples)
    )


def test_samples_are_made_again_while_they_arrive(running: Running) -> None:
    samples = (10000 * np.sin(np.arange(24000) * 0.1)).astype("<i2").tobytes()

    def slowly():
        for begin in range(0, len(samples), 3001):
            yield samples[begin : begin + 3001]

    answer = running.client.post(
        "/v1/vocode?model=vocoder&seed=1&format=pcm", content=slowly(), headers={"Content-Type": "audio/pcm"}
    )
    assert answer.status_code == 200 and len(answer.content) == len(samples)
    assert np.abs(np.frombuffer(answer.content, "<i2").astype(float)).mean() > 100


def test_bits_of_a_recording(running: Running) -> None:
    told = running.client.post("/v1/likelihood?model=music", content=recording()).json()
    assert told["samples"] == 8000 and told["bits"] == pytest.approx(8000 * told["bits_per_sample"])
    assert 0 < told["bits_per_sample"] < 20


def test_images_are_those_of_the_command_however_they_come(running: Running) -> None:
    asked = {"model": "mnist-binary", "n": 3, "seed": 5, "labels": [{"digit": "3"}, {"digit": "4"}]}
    rows = np.array(running.client.post("/v1/images", json={**asked, "format": "json"}).json()["images"])
    from wavegen import checkpoint
    from wavegen.generation.images import ImageSession
    from wavegen.generation.options import GenerationOptions

    labels = [{"digit": value} for value in "343"]
    session = ImageSession(checkpoint.load(Path("mnist-binary")), labels, GenerationOptions(seed=5))
    expected = session.pixels(np.stack(list(session.rows()), axis=1))[..., 0]
    np.testing.assert_array_equal(rows, expected)
    answer = running.client.post("/v1/images", json={**asked, "format": "png"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        np.testing.assert_array_equal(Image.open(io.BytesIO(archive.read("mnist-binary-1.png"))), expected[1])
    grid = Image.open(io.BytesIO(running.client.post("/v1/images", json=asked).content))
    assert grid.size == (2 * 30 + 2, 2 * 30 + 2)


def test_an_image_is_completed_and_classified(running: Running) -> None:
    digit = running.client.post(
        "/v1/images", json={"model": "mnist-binary", "n": 1, "seed": 1, "labels": {"digit": "7"}, "format": "png"}
    ).content
    told = running.client.post("/v1/images/classify?model=mnist-binary", content=digit).json()
    assert told["label"] == "digit" and told["value"] == max(told["probabilities"], key=told["probabilities"].get)
    assert sum(told["probabilities"].values()) == pytest.approx(1)
    answer = running.client.post(
        "/v1/images/complete?model=mnist-binary&rows=10&n=2&seed=1&format=json&label=digit=7", content=digit
    )
    images, before = np.array(answer.json()["images"]), np.asarray(Image.open(io.BytesIO(digit)))
    assert images.shape == (2, 28, 28)
    np.testing.assert_array_equal(images[:, :10], np.stack([before[:10]] * 2))
    assert (images[0] != images[1]).any()


def test_the_list_of_models_tells_what_each_is(running: Running) -> None:
    models = {one["name"]: one for one in running.client.get("/v1/models").json()["models"]}
    assert models["digits"]["sample_rate"] == 8000 and models["digits"]["labels"]["digit"][7] == "7"
    assert models["digits"]["credit"] and models["digits"]["live_places"] >= 0
    assert models["mnist"]["makes"] == "images" and models["mnist"]["shape"] == [28, 28, 1]
    assert not models["vocoder"]["speaks"]


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        ({"model": "nobody"}, 404, "no model 'nobody'"),
        ({"model": "mnist"}, 422, "draws images; expected one that makes sound of itself: digits, music"),
        ({"model": "vocoder"}, 422, "makes recordings again"),
        ({"model": "digits", "labels": {"digit": "12"}}, 422, "label digit has no value '12'"),
        ({"model": "digits", "labels": {"colour": "red"}}, 422, "no label 'colour'"),
        ({"model": "digits", "seconds": 6}, 413, "at most 5"),
        ({"model": "digits", "seconds": -1}, 422, "seconds: input should be greater than 0, and -1 was given"),
        ({"model": "digits", "temperature": -1}, 422, "temperature"),
        ({"model": "digits", "temperature": "hot"}, 422, "'hot' was given"),
        ({"model": "digits", "seed": 2**64}, 422, "seed"),
        ({"model": "digits", "seed": 1, "first": 2**64}, 422, "stream is"),
        ({"model": "digits", "n": 1001}, 413, "at most 1000"),
        ({"model": "digits", "prime": "/etc/passwd"}, 422, "base64"),
        ({"model": "digits", "prime": "aGVsbG8="}, 422, "cannot be read"),
        ({"model": "digits", "frames": "x"}, 422, "frames"),
        ({"model": "digits", "format": "mp3"}, 422, "format"),
        ({"seconds": 1}, 422, "model: field required"),
        ({"model": "/etc/passwd"}, 404, "no model"),
        ([], 422, "the request"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(running: Running, asked, status: int, sentence: str) -> None:
    answer = running.client.post("/v1/sounds", json=asked)
    assert answer.status_code == status
    assert sentence in problem_of(answer)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("GET", "/v1/sounds", b"", 405),
        ("POST", "/v1/sounds", b"{", 422),
        ("POST", "/v1/sounds", b'{"model": ' + b"[" * 5000, 400),
        ("POST", "/v1/sounds", b"\xff\xfe", 422),
        ("POST", "/v1/sounds", b" " * (2 << 20), 413),
        ("POST", "/v1/vocode?model=vocoder", b"", 422),
        ("POST", "/v1/vocode?model=vocoder", CLAIMS_MUCH, 422),
        ("POST", "/v1/vocode?model=digits&label=digit", b"RIFF", 422),
        ("POST", "/v1/vocode?model=music", b"RIFF", 422),
        ("POST", "/v1/vocode?model=vocoder&seed=-1", b"RIFF", 422),
        ("POST", "/v1/vocode?model=vocoder&temperature=nan", b"RIFF", 422),
        ("POST", "/v1/likelihood?model=mnist", b"RIFF", 422),
        ("POST", "/v1/images/classify?model=mnist", b"GIF89a", 422),
        ("POST", "/v1/images/complete?model=mnist&rows=99", b"", 422),
        ("GET", "/page/../../pyproject.toml", b"", 404),
        ("GET", "/page/player.wasm", b"", 404),
    ],
)  # fmt: skip
def test_nothing_that_is_sent_ends_in_a_traceback(running: Running, method, path, body, status) -> None:
    answer = running.client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    problem_of(answer)


def test_a_sound_that_fails_in_its_middle_breaks_off_and_does_not_end(running: Running, monkeypatch) -> None:
    feed, n_blocks = Output.feed, 0

    def failing(self: Output, codes: np.ndarray) -> np.ndarray:
        nonlocal n_blocks
        n_blocks += 1
        if n_blocks > 4:
            raise InputError("it fails here")
        return feed(self, codes)

    monkeypatch.setattr(Output, "feed", failing)
    with pytest.raises(httpx.RemoteProtocolError):
        running.client.post("/v1/sounds", json={"model": "music", "seconds": 2, "stream": True})
    n_blocks = 9
    answer = running.client.post("/v1/sounds", json={"model": "music", "seconds": 2})
    assert answer.status_code == 422 and problem_of(answer) == "it fails here"


def test_a_recording_that_swells_is_refused_while_it_is_decoded(running: Running) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000 * 60), 16000, format="FLAC", subtype="PCM_16")
    answer = running.client.post("/v1/likelihood?model=music", content=file.getvalue())
    assert answer.status_code == 413 and "longer than 5 s" in problem_of(answer)


def test_who_leaves_frees_the_place_within_a_block(running: Running) -> None:
    pool = running.service.pool
    with running.client.stream("POST", "/v1/sounds", json={"model": "music", "seconds": 5, "n": 100}) as answer:
        next(answer.iter_raw())
        assert pool.n_requests == 1
    until(lambda: pool.n_requests == 0 and not any(lane.n_live for lane in lanes(running)))
    with pytest.raises(Exception):  # noqa: B017 - whatever httpx calls a time that is over
        running.client.post("/v1/sounds", json={"model": "music", "seconds": 5, "n": 100}, timeout=0.3)
    until(lambda: pool.n_requests == 0 and not any(lane.n_live for lane in lanes(running)))


def lanes(running: Running):
    return [core.files["music"] for core in running.service.pool.cores]


def until(condition, seconds: float = 5) -> None:
    """Wait for something that is to come soon."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_a_large_request_starves_no_small_one(running: Running) -> None:
    large = {"model": "music", "seconds": 1, "n": 200, "seed": 1}
    with running.client.stream("POST", "/v1/sounds", json=large):
        began = time.monotonic()
        answer = running.client.post("/v1/sounds", json={"model": "music", "seconds": 0.1, "seed": 1})
        assert answer.status_code == 200 and time.monotonic() - began < 3
    until(lambda: running.service.pool.n_requests == 0)


def test_operation_is_told(running: Running) -> None:
    assert running.client.get("/health").json() == {"status": "alive"}
    assert running.client.get("/ready").status_code == 200
    running.client.post("/v1/sounds", json=SEVEN)
    text = running.client.get("/metrics").text
    for name in (
        'wavegen_requests_total{endpoint="/v1/sounds",result="200"}', "wavegen_live_streams", "wavegen_queue",
        'wavegen_blocks_late_total{model="digits"}', "wavegen_times_real_time", "wavegen_request_seconds_bucket",
    ):  # fmt: skip
        assert name in text


def test_the_interface_is_described_with_examples(running: Running) -> None:
    told = running.client.get("/openapi.json").json()
    assert {"/v1/sounds", "/v1/vocode", "/v1/images", "/v1/images/complete", "/v1/likelihood"} <= set(told["paths"])
    assert "examples" in json.dumps(told["components"]["schemas"]["SoundRequest"])
