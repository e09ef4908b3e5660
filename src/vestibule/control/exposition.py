"""`/metrics`: all metrics in the text format of Prometheus, for whoever can reach the listener.

1. Nobody signs in: the listener is on a loopback address, or behind TLS where the operator says so.
2. A counter that is still nothing is there all the same where it has no labels, so that its first step is seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import accumulate
from typing import TypeVar

from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vestibule.metrics import BUCKETS, FAMILIES, Family, Key, Labels, Snapshot, Times

Value = TypeVar("Value")


def application(snapshot: Callable[[], Awaitable[Snapshot]]) -> FastAPI:
    """Make the application of the metrics' listener."""
    app = FastAPI(title="Vestibule metrics", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(write(await snapshot()), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return app


def write(snapshot: Snapshot) -> bytes:
    """Write a snapshot."""
    registry = CollectorRegistry()
    registry.register(_Once(snapshot))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._numbers = _by_family({**snapshot.counts, **snapshot.gauges})
        self._times = _by_family(snapshot.times)

    def collect(self) -> Iterator[Metric]:
        """Give every family that there is."""
        for family in FAMILIES.values():
            if family.kind == "histogram":
                yield _histogram(family, self._times[family.name])
            else:
                yield _plain(family, self._numbers[family.name])


def _plain(family: Family, numbers: Mapping[Labels, float]) -> Metric:
    if family.kind == "gauge":
        metric: CounterMetricFamily | GaugeMetricFamily = GaugeMetricFamily(
            family.name, family.help, labels=family.labels
        )
    else:
        metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
        numbers = numbers or ({} if family.labels else {(): 0.0})
    for labels, value in sorted(numbers.items()):
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, times: Mapping[Labels, Times]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, (counts, seconds) in sorted(times.items()):
        # Prometheus wants each bucket to hold the ones below it.
        bounds = [*map(str, BUCKETS), "+Inf"]
        metric.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), seconds)
    return metric


def _by_family(values: Mapping[Key, Value]) -> defaultdict[str, dict[Labels, Value]]:
    found: defaultdict[str, dict[Labels, Value]] = defaultdict(dict)
    for (name, labels), value in values.items():
        found[name][labels] = value
    return found
