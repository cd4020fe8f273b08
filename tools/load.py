"""Loads a service on this machine, for a bounded time, and says what its clients saw.

    python -m tools.load images --address http://127.0.0.1:8000 --seconds 5 --clients 4 --unlabelled --rounds 4
    python -m tools.load sounds --model speech
    python -m tools.load live --model speech --clients 8 --seconds 600
    python -m tools.load latency --grpc 127.0.0.1:8001

`images`: requests for 16 digits each, by clients that ask again as soon as they are answered, in turn with what as
many processes as there are cores draw without a service; `sounds`: requests for a second of sound each. `live`:
listeners who begin to play with the first block, and count the samples that come too late. `latency`: the same small
request by REST and by gRPC, in turn. It sends to this machine only.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from threadpoolctl import threadpool_limits
from websockets.asyncio.client import connect

from wavegen.engines.base import n_cores
from wavegen.serving.drawing import AT_ONCE

HERE = ("127.0.0.1", "localhost", "::1")
MOST_S = 3600.0  # that it may take
TIMEOUT_S = 120.0
SMALL = {"model": "digits", "seconds": 0.1, "seed": 1}


def quantiles(seconds: list[float]) -> str:
    """Of some durations, ms."""
    p50, p99 = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"


async def ask_again(address: str, path: str, body: dict[str, object], n_clients: int, seconds: float) -> list[float]:
    """Let clients ask, each again as soon as it is answered; returns how long each answer took."""
    took: list[float] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S) as session:
            while time.monotonic() < end:
                began = time.monotonic()
                answer = await session.post(path, json={**body, "seed": number + len(took)})
                answer.raise_for_status()
                await answer.aread()
                took.append(time.monotonic() - began)

    await asyncio.gather(*(client(number) for number in range(n_clients)))
    return took


async def images(options: argparse.Namespace) -> None:
    body = {"model": options.model or "mnist", "n": AT_ONCE, "format": "json"}
    labels = [{"digit": str(digit)} for digit in range(10)]
    if not options.unlabelled:
        body["labels"] = labels
    every: list[float] = []
    n = n_cores()
    with ProcessPoolExecutor(n, multiprocessing.get_context("spawn")) as processes:
        beside = partial(drawn_directly, body["model"], [{}] if options.unlabelled else labels)
        list(processes.map(beside, [0.1] * n))
        for _ in range(options.rounds):
            direct = sum(processes.map(beside, [options.seconds] * n))
            began = time.monotonic()
            took = await ask_again(options.address, "/v1/images", body, options.clients, options.seconds)
            served = AT_ONCE * len(took) / (time.monotonic() - began)
            every += took
            print(f"{served:.0f} images a second, {served / direct:.2f} of the {direct:.0f} of {n} processes")
    print(f"a request of {AT_ONCE} images: {quantiles(every)}")


def drawn_directly(name: str, labels: list[dict[str, str]], seconds: float) -> float:
    """Images a second that this process draws alone, as `wavegen bench --image` does."""
    from wavegen import checkpoint
    from wavegen.generation.images import ImageSession
    from wavegen.generation.options import GenerationOptions

    with threadpool_limits(1):
        turns = [labels[number % len(labels)] for number in range(AT_ONCE)]
        session = ImageSession(checkpoint.load(Path(name)), turns, GenerationOptions(seed=0, n_threads=1))
        n, began = 0, time.monotonic()
        while time.monotonic() - began < seconds:
            for _ in session.rows():
                pass
            n += AT_ONCE
        return n / (time.monotonic() - began)


async def sounds(options: argparse.Namespace) -> None:
    body = {"model": options.model or "digits", "seconds": 1.0}
    began = time.monotonic()
    took = await ask_again(options.address, "/v1/sounds", body, options.clients, options.seconds)
    elapsed = time.monotonic() - began
    print(f"{len(took) / elapsed:.2f} requests a second, {len(took) / elapsed:.1f} seconds of sound a second")
    print(quantiles(took))


async def live(options: argparse.Namespace) -> None:
    async with httpx.AsyncClient(base_url=options.address) as session:
        listed = (await session.get("/v1/models")).json()["models"]
    model = options.model or "digits"
    rate = next(one["sample_rate"] for one in listed if one["name"] == model)
    results = await asyncio.gather(
        *(listen(options, model, rate, number) for number in range(options.clients)), return_exceptions=True
    )
    heard = [one for one in results if isinstance(one, tuple)]
    for error in {str(one) for one in results if isinstance(one, BaseException)}:
        print(f"refused: {error}")
    late = [second for seconds, _, _ in heard for second in seconds]
    print(f"{len(heard)} of {options.clients} listeners for {options.seconds:g} s: {len(late)} messages late")
    if late:
        minutes = Counter(int(second // 60) + 1 for second in late)
        print("by minutes: " + ", ".join(f"{n} in minute {minute}" for minute, n in sorted(minutes.items())))
    if heard:
        least = min(ahead for _, _, ahead in heard)
        print(f"first block after {quantiles([first for _, first, _ in heard])}; least ahead {least:.3f} s")


async def listen(options: argparse.Namespace, model: str, rate: int, number: int) -> tuple[list[float], float, float]:
    """One listener: when blocks came too late, the time to the first one, and the least that was ahead, s."""
    began = time.monotonic()
    async with connect(options.address.replace("http", "ws") + "/v1/live") as socket:
        await socket.send(json.dumps({"type": "hello", "model": model, "seed": number, "ahead": options.ahead}))
        late: list[float] = []
        first, plays_from, n_heard, least = 0.0, 0.0, 0, np.inf
        while time.monotonic() - began < options.seconds:
            message = await asyncio.wait_for(socket.recv(), TIMEOUT_S)
            if isinstance(message, str):
                if (told := json.loads(message))["type"] in ("end", "error"):
                    raise RuntimeError(told.get("detail") or told.get("reason"))
                continue
            now = time.monotonic()
            if not first:
                first = plays_from = now
            if n_heard / rate > options.ahead:  # it has filled what is ahead
                ahead = n_heard / rate - (now - plays_from)
                least = min(least, ahead)
                if ahead < 0:
                    late.append(now - began)
                    plays_from -= ahead
            n_heard += len(message) // 2
    return late, first - began, float(least)


async def latency(options: argparse.Namespace) -> None:
    import grpc

    from wavegen.serving import rpc

    request, response = rpc.message_class("SoundRequest"), rpc.message_class("SoundBlock")
    took: dict[str, list[float]] = {"REST": [], "gRPC": []}
    async with (
        grpc.aio.insecure_channel(options.grpc) as channel,
        httpx.AsyncClient(base_url=options.address, timeout=TIMEOUT_S) as session,
    ):
        call = channel.unary_stream(
            f"/{rpc.NAME}/MakeSounds",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

        async def by_rest() -> None:
            (await session.post("/v1/sounds", json={**SMALL, "format": "pcm"})).raise_for_status()

        async def by_grpc() -> None:
            async for _ in call(request(**SMALL)):
                pass

        ways: dict[str, Callable[[], Awaitable[None]]] = {"REST": by_rest, "gRPC": by_grpc}
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            for name, ask in ways.items():
                began = time.monotonic()
                await ask()
                took[name].append(time.monotonic() - began)
    for name, each in took.items():
        print(f"{name}: {quantiles(each)} ({len(each)} requests of {SMALL['seconds']} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("images", "sounds", "live", "latency"))
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    parser.add_argument("--grpc", default="127.0.0.1:8001", help="of latency: where the service answers by gRPC")
    parser.add_argument("--model")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--ahead", type=float, default=0.25, help="of live: what is made ahead of a listener, s")
    parser.add_argument("--rounds", type=int, default=1, help="of images: how often both are timed")
    parser.add_argument("--unlabelled", action="store_true", help="of images: without labels, so without guidance")
    options = parser.parse_args()
    for address in (urlsplit(options.address).hostname, options.grpc.rpartition(":")[0]):
        if address not in HERE:
            parser.error(f"{address} is another machine; expected one of {', '.join(HERE)}")
    if not 0 < options.seconds * 2 * options.rounds <= MOST_S or not 1 <= options.clients <= 1000:
        parser.error(f"expected at most {MOST_S:g} s and 1000 clients")
    asyncio.run({"images": images, "sounds": sounds, "live": live, "latency": latency}[options.what](options))


if __name__ == "__main__":
    main()
