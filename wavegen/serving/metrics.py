"""What the service counts, in the format of Prometheus."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from wavegen.serving.pool import LIVE_SHARE, Pool

DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one service."""

    def __init__(self, pool: Pool) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OfPool(pool))
        self.requests = Counter(
            "wavegen_requests", "Requests that were answered.", ["endpoint", "result"], registry=self._registry
        )
        self.durations = Histogram(
            "wavegen_request_seconds",
            "Time from a request to the end of its answer.",
            ["endpoint"],
            registry=self._registry,
            buckets=DURATIONS_S,
        )

    def count(self, endpoint: str, result: str, seconds: float) -> None:
        """Count an answer, and how long it took."""
        self.requests.labels(endpoint, result).inc()
        self.durations.labels(endpoint).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


def joined(texts: Mapping[str, bytes]) -> bytes:
    """What several services have counted, by the name of each, which is the label `replica`."""
    families: dict[str, Metric] = {}
    for name, text in texts.items():
        for family in text_string_to_metric_families(text.decode()):
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [one._replace(labels={**one.labels, "replica": name}) for one in family.samples]
    return generate_latest(_Collected(families))


class _Collected(Collector):
    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()


class _OfPool(Collector):
    """What the cores, and the processes that draw, have counted."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        streams = GaugeMetricFamily("wavegen_live_streams", "Live streams.", labels=["model"])
        places = GaugeMetricFamily(
            "wavegen_live_places", "Live streams that one model alone would be given.", labels=["model"]
        )
        blocks = CounterMetricFamily("wavegen_blocks", "Blocks that were made.", labels=["model", "kind"])
        late = CounterMetricFamily("wavegen_blocks_late", "Live blocks that came too late.", labels=["model"])
        sound = CounterMetricFamily("wavegen_sound_seconds", "Sound that was made.", labels=["model", "kind"])
        images = CounterMetricFamily("wavegen_images", "Images that were drawn.", labels=["model"])
        work = CounterMetricFamily(
            "wavegen_work_seconds", "Time of cores, and of processes that draw.", labels=["model", "kind"]
        )
        speed = GaugeMetricFamily("wavegen_times_real_time", "Seconds of sound per second of work.", labels=["model"])
        for model in self._pool.models:
            name, rate = model.name, model.sample_rate
            if model.draws:
                drawn = [process.counts[name] for process in self._pool.processes]
                images.add_metric([name], sum(counts.n_images for counts in drawn))
                work.add_metric([name, "files"], sum(counts.work_s for counts in drawn))
                continue
            others = [core.files[name].counts for core in self._pool.cores]
            work.add_metric([name, "files"], sum(counts.work_s for counts in others))
            lanes = [core.live[name] for core in self._pool.cores]
            streams.add_metric([name], sum(len(lane.voices()) for lane in lanes))
            places.add_metric([name], self._pool.room(model))
            late.add_metric([name], sum(lane.counts.n_late for lane in lanes))
            kinds = {"live": [lane.counts for lane in lanes], "files": others}
            for kind, each in kinds.items():
                blocks.add_metric([name, kind], sum(counts.n_blocks for counts in each))
                sound.add_metric([name, kind], sum(counts.n_samples for counts in each) / rate)
            work.add_metric([name, "live"], sum(lane.counts.work_s for lane in lanes))
            all_counts = [counts for each in kinds.values() for counts in each]
            busy_s = sum(counts.work_s for counts in all_counts)
            if busy_s:
                speed.add_metric([name], sum(counts.n_samples for counts in all_counts) / rate / busy_s)
        queue = GaugeMetricFamily("wavegen_queue", "Requests for files that are not complete.", self._pool.n_requests)
        load = GaugeMetricFamily("wavegen_live_load", "Share of a core that live streams take.", labels=["core"])
        for number, core in enumerate(self._pool.cores):
            load.add_metric([str(number)], core.load())
        limit = GaugeMetricFamily("wavegen_live_load_limit", "The most that they may take.", LIVE_SHARE)
        yield from (streams, places, blocks, late, sound, images, work, speed, queue, load, limit)
