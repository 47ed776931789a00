"""What is logged, as Serve writes it to its files."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from ray._common.formatters import JSONFormatter


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
