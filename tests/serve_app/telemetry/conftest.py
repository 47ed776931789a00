"""The whole graph in one process: the real ingress and replicas, and handles that call them as Serve does, in a context of their own."""

import asyncio
import contextvars
import inspect
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ray._common.formatters import JSONFormatter
from ray.exceptions import RayTaskError
from starlette.testclient import TestClient

from serve_app.config import ServeConfig
from serve_app.graph.ingress import Ingress
from serve_app.graph.replicas import FeaturesReplica, GeneratorReplica, QualityReplica
from serve_app.telemetry.metrics import VALUES, Metric

EARBUDS = {"product": {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机", "price": 299}}
SHOES = {"product": {"product_id": "p2", "title": "轻云跑鞋", "category": "跑鞋"}}
Series = tuple[str, frozenset[tuple[str, str]]]


class LocalHandle:
    """`handle.METHOD.remote(...)` of a replica in this process. Nothing but the arguments crosses: each call has an empty context."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._replica, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                if inspect.iscoroutinefunction(method):
                    return await method(*args, **kwargs)
                return await asyncio.to_thread(method, *args, **kwargs)
            except Exception as error:
                raise RayTaskError(name, "traceback", error, proctitle="p", pid=1, ip="1").as_instanceof_cause() from error

        class Remote:
            @staticmethod
            def remote(*args: Any, **kwargs: Any) -> Any:
                return asyncio.get_running_loop().create_task(call(*args, **kwargs), context=contextvars.Context())

        return Remote


class Recorded:
    """Counts as Ray's agents would, and refuses a label that the metric does not have or that our code would not say."""

    series: ClassVar[Counter[Series]] = Counter()

    def __call__(self, metric: Metric, value: float = 1.0, labels: Mapping[str, str] | None = None) -> None:
        told = dict(labels or {})
        assert set(told) == set(metric.labels), metric.name
        for label, said in told.items():
            assert said in VALUES.get(label, (said,)), f"{metric.name}: {label}={said}"
        key = (metric.name, frozenset(told.items()))
        if metric.kind == "gauge":
            self.series[key] = value  # type: ignore[assignment]
        else:
            self.series[key] += value if metric.kind == "counter" else 1  # type: ignore[assignment]

    def of(self, metric: Metric) -> dict[tuple[str, ...], float]:
        """Label values, in the metric's order -> value."""
        return {
            tuple(dict(labels)[label] for label in metric.labels): value
            for (name, labels), value in self.series.items()
            if name == metric.name
        }


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    Recorded.series = Counter()
    monkeypatch.setattr("serve_app.telemetry.ray_metrics.RayMetrics", Recorded)
    return Recorded()


@contextmanager
def running(config: ServeConfig) -> Iterator[TestClient]:
    features, generator, quality = FeaturesReplica(config), GeneratorReplica(config), QualityReplica(config)
    handles: list[Any] = [LocalHandle(replica) for replica in (features, generator, quality)]
    ingress = Ingress(config, *handles)
    with TestClient(ingress.__serve_build_asgi_app__()) as client:
        client.ingress, client.generator, client.quality = ingress, generator, quality  # type: ignore[attr-defined]
        yield client
    for replica in (features, generator, quality):
        replica.telemetry.close()
    generator.generator.close()


@pytest.fixture
def graph(tiny_bundle: Any, recorded: Recorded) -> Iterator[Callable[..., TestClient]]:
    """Makes the app with these fields of its configuration."""
    with ExitStack() as stack:

        def made(**fields: Any) -> TestClient:
            answer = {"expected_s": 0.01, "varied": False}
            config = ServeConfig.model_validate({"bundle": str(tiny_bundle.path), "answer": answer, "cache": {"max_entries": 0}} | fields)
            return stack.enter_context(running(config))

        yield made


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """All that is logged by anybody in this process, as Serve writes it to its files."""
    handler = logging.FileHandler(tmp_path / "log.jsonl", encoding="utf-8")
    handler.setFormatter(JSONFormatter())
    handler.setLevel(logging.DEBUG)
    handler.addFilter(lambda record: not record.name.startswith("httpx2"))  # the caller's own
    loggers = [logging.getLogger(name) for name in ("", "ray.serve")]  # Serve's does not hand its records on
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield partial((tmp_path / "log.jsonl").read_text, encoding="utf-8")
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)
    handler.close()


@pytest.fixture
def earbuds() -> dict[str, Any]:
    return EARBUDS


@pytest.fixture
def shoes() -> dict[str, Any]:
    return SHOES
