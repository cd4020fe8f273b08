"""The service by gRPC: the same sounds as by HTTP, streams both ways, and what goes wrong as its codes."""

import asyncio
import io
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving.conftest import Running
from tests.serving.test_http import made, recording, until

grpc = pytest.importorskip("grpc")
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase  # noqa: E402

from wavegen.serving import rpc  # noqa: E402

SEVEN = {"model": "digits", "seconds": 0.3, "seed": 1, "labels": {"digit": "7"}}


class Calls:
    """The methods of a server, as grpcurl calls them: by name, with fields."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self.channel = grpc.insecure_channel(address)
        self._metadata = [] if token is None else [("authorization", f"Bearer {token}")]

    def __getattr__(self, name: str) -> Any:
        method = rpc.SERVICE.methods_by_name[name]
        request, response = (rpc.message_class(kind.name) for kind in (method.input_type, method.output_type))
        kind = "_".join("stream" if one else "unary" for one in (method.client_streaming, method.server_streaming))
        call = getattr(self.channel, kind)(
            f"/{rpc.NAME}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        if method.client_streaming:
            return lambda messages: call(messages, metadata=self._metadata, timeout=30)
        return lambda **fields: call(request(**fields), metadata=self._metadata, timeout=30)


@pytest.fixture(scope="module")
def address(running: Running) -> Iterator[str]:
    """Where the service also answers by gRPC."""
    loop, told = asyncio.new_event_loop(), {}

    async def start() -> None:
        told["server"], told["port"] = await rpc.make_server(running.service, "127.0.0.1:0")
        await told["server"].start()

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield f"127.0.0.1:{told['port']}"
    asyncio.run_coroutine_threadsafe(told["server"].stop(0), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def calls(address: str) -> Calls:
    return Calls(address)


def samples_of(messages: Any) -> np.ndarray:
    return np.frombuffer(b"".join(message.samples for message in messages), "<i2")


def test_what_ships_is_the_compiled_proto(tmp_path: Path) -> None:
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    folder = Path(rpc.__file__).parent
    assert protoc.main(["", f"-I{folder}", f"--descriptor_set_out={tmp_path / 'desc'}", "wavegen.proto"]) == 0
    compiled, shipped = (
        descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        for path in (tmp_path / "desc", folder / "wavegen.desc")
    )
    assert compiled == shipped


def test_a_sound_comes_in_blocks_and_is_that_of_generate(calls: Calls) -> None:
    messages = list(calls.MakeSounds(**SEVEN))
    np.testing.assert_array_equal(samples_of(messages), made())
    assert [message.is_last for message in messages] == [False] * (len(messages) - 1) + [True]
    assert {(message.seed, message.sample_rate, message.number) for message in messages} == {(1, 8000, 0)}


def test_several_sounds_come_one_after_the_other(calls: Calls) -> None:
    messages = list(calls.MakeSounds(**SEVEN, n=3))
    assert sorted({message.number for message in messages}) == [0, 1, 2]
    np.testing.assert_array_equal(samples_of(one for one in messages if one.number == 0), made())


def test_recordings_are_made_again_whole_and_while_they_arrive(running: Running, calls: Calls) -> None:
    vocode = rpc.message_class("VocodeInput")

    def pieces(data: bytes, **fields: object) -> Iterator[Any]:
        yield vocode(request={"model": "vocoder", "seed": 1, **fields})
        for begin in range(0, len(data), 5000):
            yield vocode(data=data[begin : begin + 5000])

    expected = running.client.post("/v1/vocode?model=vocoder&seed=1&format=pcm", content=recording()).content
    assert samples_of(calls.Vocode(pieces(recording()))).tobytes() == expected
    raw = (8000 * np.sin(np.arange(8000) * 0.08)).astype("<i2").tobytes()
    assert len(samples_of(calls.Vocode(pieces(raw, pcm=True)))) == 8000


def test_images_and_bits(calls: Calls) -> None:
    drawn = calls.DrawImages(model="mnist-binary", n=2, seed=5, labels=[{"labels": {"digit": "3"}}])
    assert drawn.seed == 5 and Image.open(io.BytesIO(drawn.images[1])).size == (28, 28)
    told = calls.ClassifyImage(model="mnist-binary", image=drawn.images[0])
    assert told.label == "digit" and told.value == max(told.probabilities, key=told.probabilities.get)
    completed = calls.CompleteImage(model="mnist-binary", image=drawn.images[0], rows=28, n=1)
    assert completed.images[0] == drawn.images[0]
    told = calls.Likelihood(model="music", recording=recording())
    assert told.samples == 8000 and told.bits_per_sample > 0
    assert "digits" in [model.name for model in calls.ListModels().models]


def test_a_live_stream_is_heard_changed_and_ended(calls: Calls, running: Running) -> None:
    said, live = [], rpc.message_class("LiveInput")
    heard, go_on, end = b"", threading.Event(), threading.Event()

    def messages() -> Iterator[Any]:
        yield live(hello={"model": "digits", "seed": 1, "labels": {"digit": "7"}})
        go_on.wait(10)
        yield live(change={"temperature": 0.3, "labels": {"digit": "3"}})
        yield live(change={"temperature": -3})
        yield live(freeze={"frozen": True})
        end.wait(10)
        yield live(cancel={})

    for message in calls.Live(messages()):
        if message.WhichOneof("message") == "samples":
            heard += message.samples
        else:
            said.append(message.event)
        if len(heard) > 9000:
            go_on.set()
        if any(event.frozen for event in said):
            end.set()
    expected = made(1)[:4000]  # the end of a sound is matched to nothing behind it
    np.testing.assert_array_equal(np.frombuffer(heard[: 2 * len(expected)], "<i2"), expected)
    kinds = [event.type for event in said]
    assert kinds[0] == "ready" and kinds[-1] == "end" and said[-1].detail == "cancelled"
    assert "temperature" in next(event.detail for event in said if event.type == "refused")
    assert any(event.labels == {"digit": "3"} for event in said if event.type == "controls")
    until(lambda: running.service.pool.n_voices == 0)


@pytest.mark.parametrize(
    ("name", "fields", "code", "sentence"),
    [
        ("MakeSounds", {"model": "nobody"}, "NOT_FOUND", "no model"),
        ("MakeSounds", {"model": "mnist"}, "INVALID_ARGUMENT", "draws images"),
        ("MakeSounds", {"model": "digits", "seconds": 100}, "RESOURCE_EXHAUSTED", "at most 5"),
        ("MakeSounds", {"model": "digits", "temperature": float("nan")}, "INVALID_ARGUMENT", "temperature"),
        ("MakeSounds", {"model": "digits", "n": 0}, "INVALID_ARGUMENT", "n: input"),
        ("DrawImages", {"model": "mnist", "n": 100000}, "RESOURCE_EXHAUSTED", "at most"),
        ("ClassifyImage", {"model": "mnist", "image": b"GIF"}, "INVALID_ARGUMENT", "cannot be read"),
        ("Likelihood", {"model": "music", "recording": b"RIFF"}, "INVALID_ARGUMENT", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_told_with_a_code(calls: Calls, name, fields, code: str, sentence: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        answer = getattr(calls, name)(**fields)
        list(answer) if name == "MakeSounds" else answer
    assert raised.value.code().name == code and sentence in raised.value.details()


def test_without_room_it_says_when_to_ask_again(calls: Calls, running: Running, monkeypatch) -> None:
    monkeypatch.setattr(running.service.pool, "_max_streams", 0)
    with pytest.raises(grpc.RpcError) as raised:
        list(calls.Live(iter([rpc.message_class("LiveInput")(hello={"model": "digits"})])))
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert dict(raised.value.trailing_metadata())["retry-after"] == "5"


def test_without_the_token_nothing_is_answered_but_health(address: str, running: Running, monkeypatch) -> None:
    monkeypatch.setattr(running.service, "_token", "secret")
    for token in (None, "wrong"):
        with pytest.raises(grpc.RpcError) as raised:
            Calls(address, token).ListModels()
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as raised:
            list(Calls(address, token).MakeSounds(**SEVEN))
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert Calls(address, "secret").ListModels().models
    stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(address))
    assert stub.Check(health_pb2.HealthCheckRequest(service=rpc.NAME)).status == 1


def test_the_service_describes_itself(calls: Calls) -> None:
    assert rpc.NAME in ProtoReflectionDescriptorDatabase(calls.channel).get_services()


def test_bytes_that_are_no_messages_do_no_harm(calls: Calls, running: Running) -> None:
    random_ = random.Random(1)
    for _ in range(200):
        method = random_.choice(list(rpc.SERVICE.methods))
        data = random_.randbytes(random_.randint(0, 60))
        path = f"/{rpc.NAME}/{method.name}"
        try:
            if method.server_streaming:
                make = calls.channel.stream_stream if method.client_streaming else calls.channel.unary_stream
                list(make(path)(iter([data]) if method.client_streaming else data, timeout=10))
            else:
                calls.channel.unary_unary(path)(data, timeout=10)
        except grpc.RpcError as error:
            assert error.code() != grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: running.service.pool.n_voices == 0 and running.service.pool.n_requests == 0)


def test_who_vanishes_frees_the_place(calls: Calls, running: Running) -> None:
    call = calls.MakeSounds(model="music", seconds=5.0)
    next(call)
    call.cancel()
    until(lambda: running.service.pool.n_requests == 0)
    live = calls.Live(iter([rpc.message_class("LiveInput")(hello={"model": "digits"})]))
    next(live)
    assert running.service.pool.n_voices == 1
    live.cancel()
    until(lambda: running.service.pool.n_voices == 0)
