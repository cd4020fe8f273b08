"""Many sounds of different lengths at once: each is the one that is made of it alone."""

import threading

import numpy as np
import pytest

from tests.conftest import tiny_checkpoint
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.engines.reference import ReferenceEngine
from wavegen.errors import InputError
from wavegen.generation import scheduler as batching
from wavegen.generation.conditioning import FrameConditioner, condition_of
from wavegen.generation.scheduler import generate_each
from wavegen.generation.session import LoadedModel
from wavegen.generation.stream import Stream, StreamGroup, generate
from wavegen.models.build import from_checkpoint

LENGTHS = (7, 20, 1, 8, 13)
VOCODER = {"n_features": 4, "hop": 5, "frame_channels": 6, "look_ahead": 2}


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    monkeypatch.setattr(batching, "BLOCKSIZE", 8)


def conditions(kind):
    """A tiny network, its frames' hop, and what each piece is made under."""
    random = np.random.default_rng(0)
    if kind == "frames":
        checkpoint = tiny_checkpoint(**VOCODER, labels={"speaker": 3})
        frames = [random.standard_normal((1, -(-n // 5), 4)).astype(np.float32) for n in LENGTHS]
        labels = [{"speaker": str(number % 3)} for number in range(len(LENGTHS))]
        return checkpoint, 5, [FrameConditioner(checkpoint, [labels[i]], frames[i]).at for i in range(len(LENGTHS))]
    if kind == "labels":
        checkpoint = tiny_checkpoint(labels={"speaker": 3})
        return checkpoint, 1, [condition_of(checkpoint, [{"speaker": str(i % 3)}]) for i in range(len(LENGTHS))]
    return tiny_checkpoint(), 1, [None] * len(LENGTHS)


@pytest.mark.parametrize("engine", ["reference", "numba"])
@pytest.mark.parametrize("n_streams", [1, 2, 7])
@pytest.mark.parametrize("kind", ["plain", "labels", "frames"])
def test_each_is_what_it_is_alone(kind, n_streams, engine):
    checkpoint, hop, given = conditions(kind)
    prime = np.random.default_rng(1).integers(0, checkpoint.description.n_classes, 10)
    primes = [prime if i == 3 else None for i in range(len(LENGTHS))]
    pieces = [
        (Stream(seed=4, condition=condition, prime=prime), n)
        for n, condition, prime in zip(LENGTHS, given, primes, strict=True)
    ]
    options = EngineOptions(engine, precision="float32")
    _, many = make_engine(checkpoint, n_streams, options)
    _, one = make_engine(checkpoint, 1, options)
    made = dict(generate_each(many, pieces, hop=hop))
    assert sorted(made) == list(range(len(LENGTHS)))
    for number, n in enumerate(LENGTHS):
        alone = generate(one, n, seed=4, condition=given[number], prime=primes[number])
        np.testing.assert_array_equal(made[number], np.concatenate(list(alone), axis=1)[0])


def test_pieces_are_asked_for_when_a_stream_is_free():
    asked = []

    def pieces():
        for number, n in enumerate((20, 3, 3, 3)):
            asked.append(number)
            yield Stream(number=number), n

    ends = []
    for number, codes in generate_each(ReferenceEngine(from_checkpoint(tiny_checkpoint()), 2), pieces()):
        ends.append((number, len(codes), len(asked)))
    assert ends == [(1, 3, 2), (2, 3, 3), (0, 20, 4), (3, 3, 4)]


def test_nothing_is_made_of_nothing():
    assert list(generate_each(ReferenceEngine(from_checkpoint(tiny_checkpoint()), 2), [])) == []


class Service:
    """A scheduler of a tiny labelled network, and what each kind of stream is made by alone."""

    def __init__(self, kind, n_streams, frames=False):
        changes = VOCODER if frames else {}
        checkpoint = tiny_checkpoint(labels={"speaker": 3}, **changes)
        self.model = LoadedModel(checkpoint)
        self.scheduler = self.model.scheduler(n_streams, 8, engine=kind, precision="float32")
        options = EngineOptions(kind, precision="float32")
        self.alone = {guided: make_engine(checkpoint, 1, options, guided)[1] for guided in (False, True)}

    def random_options(self, random):
        options = {"seed": int(random.integers(1000)), "temperature": float(random.uniform(0.5, 2))}
        if random.random() < 0.7:
            options["labels"] = {"speaker": str(random.integers(3))}
            if random.random() < 0.5:
                options["guidance"] = 2.0
        if random.random() < 0.3:
            options["top_k"] = 5
        if self.model.description.features:
            options["frames"] = random.uniform(-1, 1, (12, 4)).astype(np.float32)
        elif random.random() < 0.4:
            options["prime"] = random.uniform(-1, 1, int(random.integers(1, 40)))
        return options

    def codes(self, number, options, n):
        """The first n codes of a stream that is made alone."""
        stream = self.model.new_stream(number, **options)
        return StreamGroup(self.alone[stream.needs_guided_engine], [stream]).advance(n)[0]


@pytest.mark.parametrize("is_vocoder", [False, True], ids=["sounds", "of frames"])
@pytest.mark.parametrize("kind", ["reference", "numba"])
def test_a_stream_does_not_depend_on_who_else_comes_and_goes(kind, is_vocoder):
    service, random = Service(kind, 3, is_vocoder), np.random.default_rng(0)
    scheduler, submitted, made = service.scheduler, {}, {}
    for _ in range(25):
        while random.random() < 0.5:
            options, number = service.random_options(random), int(random.integers(4))
            length = None if random.random() < 0.3 else int(random.integers(1, 50))
            handle = scheduler.submit(service.model.new_stream(number, **options), length)
            submitted[handle], made[handle] = (number, options), []
        for handle in list(submitted):
            if random.random() < 0.05:
                scheduler.cancel(handle)
        for handle, codes in scheduler.step().items():
            made[handle].append(codes)
    for handle in submitted:
        if handle.n_samples is None:
            scheduler.cancel(handle)
    while scheduler.n_live + scheduler.n_waiting:
        for handle, codes in scheduler.step().items():
            made[handle].append(codes)
    assert {handle.status for handle in submitted} == {"done", "cancelled"}
    assert {handle.stream.needs_guided_engine for handle in submitted} == {False, True}
    for handle, (number, options) in submitted.items():
        codes = np.concatenate([np.empty(0, dtype=np.int64), *made[handle]])
        assert len(codes) == handle.n_made
        assert handle.status == "cancelled" or len(codes) == handle.n_samples
        if len(codes):
            np.testing.assert_array_equal(codes, service.codes(number, options, len(codes)))


def test_streams_wait_for_a_slot_and_a_cancelled_one_frees_it_at_the_next_block():
    service = Service("numba", 1)
    first, second, third = (service.scheduler.submit(service.model.new_stream(seed=seed)) for seed in range(3))
    assert [one.status for one in (first, second, third)] == ["waiting"] * 3
    assert list(service.scheduler.step()) == [first]
    assert (service.scheduler.n_live, service.scheduler.n_waiting) == (1, 2)
    service.scheduler.cancel(second)
    assert {handle: len(codes) for handle, codes in service.scheduler.step().items()} == {first: 8, second: 0}
    service.scheduler.cancel(first)
    assert {handle: len(codes) for handle, codes in service.scheduler.step().items()} == {third: 8, first: 0}
    assert [one.status for one in (first, second, third)] == ["cancelled", "cancelled", "live"]
    service.scheduler.cancel(first)  # once more is once too often, and does nothing
    assert first.n_made == 16


def test_a_long_recording_to_continue_does_not_stall_the_others():
    service = Service("numba", 2)
    quick = service.scheduler.submit(service.model.new_stream(seed=1))
    slow = service.scheduler.submit(service.model.new_stream(seed=2, prime=np.zeros(100)), 20)
    given_out = [service.scheduler.step() for _ in range(15)]
    assert [len(blocks[quick]) for blocks in given_out] == [8] * 15
    assert [len(blocks[slow]) for blocks in given_out if slow in blocks] == [4, 8, 8]
    assert slow.status == "done"


def test_a_fault_of_one_stream_ends_that_one_only():
    def broken(first, n):
        raise OSError("the file of frames is gone") if first else InputError("not a frame")

    service = Service("numba", 3, frames=True)
    frames = np.random.default_rng(0).uniform(-1, 1, (4, 4)).astype(np.float32)
    options = {"seed": 3, "frames": frames, "labels": {"speaker": "1"}}
    good = service.scheduler.submit(service.model.new_stream(**options), 20)
    bad = service.scheduler.submit(Stream(condition=broken, model=service.scheduler._model), 20)
    codes = [service.scheduler.step() for _ in range(2)]
    np.testing.assert_array_equal(np.concatenate([one[good] for one in codes]), service.codes(0, options, 20))
    assert (good.status, bad.status, str(bad.error)) == ("done", "failed", "not a frame")
    with pytest.raises(InputError, match="has no label 'mood'"):
        service.model.new_stream(labels={"mood": "x"}, frames=frames)
    assert service.scheduler.step() == {}


def test_a_fault_of_an_engine_keeps_what_the_other_engine_made(monkeypatch):
    service = Service("numba", 1)
    plain = service.scheduler.submit(service.model.new_stream(seed=1), 20)
    guided = service.scheduler.submit(service.model.new_stream(labels={"speaker": "1"}, guidance=2.0), 20)

    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(service.scheduler._lanes[True].group, "run", fail)
    assert {handle: len(codes) for handle, codes in service.scheduler.step().items()} == {plain: 8, guided: 0}
    assert (guided.status, str(guided.error), plain.status) == ("failed", "no room", "live")
    assert [len(service.scheduler.step()[plain]) for _ in range(2)] == [8, 4]
    assert not service.scheduler.wait(0)


def test_a_stream_that_has_begun_elsewhere_fails_alone():
    service = Service("numba", 1)
    stream, other = (service.model.new_stream(seed=seed) for seed in (1, 2))
    handles = [service.scheduler.submit(one, 8) for one in (stream, other)]
    group = StreamGroup(service.alone[False], [stream])
    assert {handle: len(codes) for handle, codes in service.scheduler.step().items()} == {handles[1]: 8, handles[0]: 0}
    assert [handle.status for handle in handles] == ["failed", "done"]
    assert stream.group is group


def test_a_stream_that_another_scheduler_has_made_fails():
    service, stream = Service("numba", 1), Stream()
    first, second = (service.model.scheduler(1, engine="numba", precision="float32") for _ in range(2))
    stream.model = first._model
    handles = [one.submit(stream, 4) for one in (first, second)]
    assert [len(codes) for codes in first.step().values()] == [4]
    first.step()
    assert [len(codes) for codes in second.step().values()] == [0]
    assert [handle.status for handle in handles] == ["done", "failed"]
    assert second.step() == {}


def test_a_closed_scheduler_cancels_all_and_takes_no_more():
    service = Service("numba", 1)
    handles = [service.scheduler.submit(service.model.new_stream(seed=seed)) for seed in (1, 2)]
    service.scheduler.step()
    service.scheduler.close()
    assert service.scheduler.wait(0)
    assert [len(codes) for codes in service.scheduler.step().values()] == [0, 0]
    assert [handle.status for handle in handles] == ["cancelled", "cancelled"]
    assert not service.scheduler.wait()  # returns at once, with nobody left to wait for
    with pytest.raises(InputError, match="this scheduler is closed"):
        service.scheduler.submit(service.model.new_stream())


def test_a_live_stream_is_changed_and_restarted_between_blocks():
    service = Service("numba", 2)
    changed, restarted = (service.scheduler.submit(service.model.new_stream(seed=seed)) for seed in (1, 2))
    service.scheduler.step()
    service.scheduler.change(changed, temperature=0.5)
    service.scheduler.restart(restarted, 3)
    blocks = service.scheduler.step()
    assert changed.stream.decoding.temperature == 0.5
    np.testing.assert_array_equal(blocks[restarted], service.codes(0, {"seed": 3}, 8))
    with pytest.raises(InputError, match="temperature is -1"):
        service.scheduler.change(changed, temperature=-1.0)


def test_what_cannot_be_submitted_is_refused():
    service = Service("numba", 1)
    stream = service.model.new_stream()
    for length in (0, 48.0, float("nan")):
        with pytest.raises(InputError, match="expected an integer of 1 or more, or None for no end"):
            service.scheduler.submit(stream, length)
    with pytest.raises(InputError, match="this stream is of another model"):
        service.scheduler.submit(LoadedModel(tiny_checkpoint()).new_stream())
    service.scheduler.submit(stream, 10)
    for _ in range(2):
        with pytest.raises(InputError, match="is being made already"):
            service.scheduler.submit(stream)
        service.scheduler.step()
    with pytest.raises(TypeError, match="unknown option 'sed'; did you mean 'seed'"):
        service.model.new_stream(sed=3)
    with pytest.raises(InputError, match="0 streams are wanted"):
        service.model.scheduler(0)


def test_any_thread_may_submit_and_cancel_while_blocks_are_made():
    service, random = Service("numba", 2), np.random.default_rng(0)
    jobs = [[service.random_options(random) for _ in range(6)] for _ in range(3)]
    submitted, made, is_over = {}, {}, threading.Event()

    def submit(options):
        for one in options:
            handle = service.scheduler.submit(service.model.new_stream(**one), 30)
            submitted[handle] = one
            if one["seed"] % 4 == 0:
                service.scheduler.cancel(handle)

    def serve():
        while not is_over.is_set() or service.scheduler.wait(0):
            if service.scheduler.wait(0.01):
                for handle, codes in service.scheduler.step().items():
                    made.setdefault(handle, []).append(codes)

    worker = threading.Thread(target=serve)
    users = [threading.Thread(target=submit, args=(options,)) for options in jobs]
    for thread in (worker, *users):
        thread.start()
    for thread in users:
        thread.join()
    is_over.set()
    worker.join()
    assert len(submitted) == 18
    for handle, options in submitted.items():
        if handle.status == "done":
            np.testing.assert_array_equal(np.concatenate(made[handle]), service.codes(0, options, 30))
    assert {handle.status for handle in submitted} == {"done", "cancelled"}
    assert not service.scheduler.wait(0)


@pytest.mark.parametrize("is_vocoder", [False, True], ids=["sounds", "of frames"])
@pytest.mark.parametrize("kind", ["reference", "numba", "onnx"])
def test_a_stream_that_waits_while_others_go_on_is_the_same(kind, is_vocoder):
    service, random = Service(kind, 4, is_vocoder), np.random.default_rng(2)
    options = [service.random_options(random) for _ in range(6)]
    handles = [service.scheduler.submit(service.model.new_stream(2, **one), 90) for one in options]
    made = {handle: [] for handle in handles}
    while not all(handle.has_ended for handle in handles):
        only = {handle for handle in handles if random.random() < 0.5}
        for handle, codes in service.scheduler.step(only).items():
            assert handle in only
            made[handle].append(codes)
    for handle, one in zip(handles, options, strict=True):
        np.testing.assert_array_equal(np.concatenate(made[handle]), service.codes(2, one, 90))


def test_an_engine_that_moves_all_streams_says_so():
    checkpoint = tiny_checkpoint()
    engine = ReferenceEngine(from_checkpoint(checkpoint), 2)
    engine.can_wait = False
    scheduler = batching.Scheduler(lambda _: engine)
    scheduler.submit(Stream(), 5)
    with pytest.raises(InputError, match="can have some wait"):
        scheduler.step(set())
