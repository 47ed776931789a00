"""The one sink of Progress: a line in metrics.jsonl, a point in TensorBoard, a call to whoever listens. Decides nothing.

Workers put their progress in a queue, and the process that called `fit` writes it down: files and console belong to one process, wherever
the workers run. A step that was done again after a worker died stands twice.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import orjson
from torch.utils.tensorboard import SummaryWriter

from train_app.stages.state import OnProgress, Progress

METRICS, BOARD = "metrics.jsonl", "tensorboard"


class Tracking:
    """Appends to the run's files; a resumed run goes on in the same ones."""

    def __init__(self, folder: Path, *, on_progress: OnProgress | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / METRICS).open("ab")
        self._board = SummaryWriter(str(folder / BOARD))
        self._on_progress = on_progress

    def write(self, progress: Progress) -> None:
        self._file.write(orjson.dumps(progress.model_dump(mode="json")) + b"\n")
        self._file.flush()
        for name, value in progress.metrics.items():
            self._board.add_scalar(f"{progress.stage}/{name}", value, progress.step)
        for pair in progress.texts[:1]:
            self._board.add_text(progress.stage, f"{pair.product}\n\nreal: {pair.real}\n\ngenerated: {pair.generated}", progress.step)
        if self._on_progress is not None:
            self._on_progress(progress)

    def close(self) -> None:
        self._file.close()
        self._board.close()


def read_story(folder: Path) -> list[Progress]:
    """What a run has told so far; empty before its first step."""
    file = folder / METRICS
    return [Progress.model_validate_json(line) for line in file.read_bytes().splitlines()] if file.is_file() else []


class Mailbox(Protocol):
    """The part of ray.util.queue.Queue that is used."""

    def put(self, item: str) -> None: ...

    def get(self) -> str: ...


@contextmanager
def listening(mailbox: Mailbox, tracking: Tracking) -> Iterator[None]:
    """Writes down what arrives until the block ends, then what is left. An error while writing is raised at the end of the block."""
    failures: list[BaseException] = []

    def listen() -> None:
        while line := mailbox.get():
            if not failures:
                try:
                    tracking.write(Progress.model_validate_json(line))
                except Exception as error:
                    failures.append(error)

    thread = threading.Thread(target=listen, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        mailbox.put("")
        thread.join()
        tracking.close()
    if failures:
        raise failures[0]
