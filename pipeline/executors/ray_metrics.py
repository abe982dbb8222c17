"""A run's metrics through Ray's own exporter, which every node of a cluster has."""

from __future__ import annotations

from collections.abc import Sequence

from ray.util.metrics import Counter, Gauge

from pipeline.metrics import ENGINE_LABELS, ENGINE_METRICS, JOB_LABELS, METRICS, Sample, kind_of


class RayMetrics:
    """Hands samples on. Ray's counters take what was added, and put `_total` behind the name themselves."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Gauge] = {}
        self._last: dict[Sample, float] = {}

    def send(self, samples: Sequence[Sample]) -> None:
        """Tells Ray's exporter."""
        for sample in samples:
            metric = self._metric(sample.name)
            if isinstance(metric, Gauge):
                metric.set(sample.value, tags=dict(sample.labels))
                continue
            key = Sample(sample.name, sample.labels, 0)
            added = sample.value - self._last.get(key, 0.0)
            if added < 0:  # an engine was opened again and counts from nothing
                added = sample.value
            self._last[key] = sample.value
            if added:
                metric.inc(added, tags=dict(sample.labels))

    def _metric(self, name: str) -> Counter | Gauge:
        if name not in self._metrics:
            labels = ENGINE_LABELS if name in ENGINE_METRICS else JOB_LABELS
            make = Counter if kind_of(name) == "counter" else Gauge
            self._metrics[name] = make(name.removesuffix("_total"), METRICS[name], labels)
        return self._metrics[name]
