"""The one sink of Progress: a line in metrics.jsonl, a point in TensorBoard and other trackers, a call to whoever listens.

Workers put their progress in a queue, and the process that called `fit` writes it down: files and console belong to one process, wherever
the workers run. A step that was done again after a worker died stands twice.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import orjson
import ray
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch.utils.tensorboard import SummaryWriter

from common.artifacts.storage import is_bucket, open_storage
from common.errors import ArtifactNotFound, StorageUnreachable, Unavailable
from train_app.runtime.trackers import Tracker
from train_app.stages.state import OnProgress, Progress

METRICS, BOARD = "metrics.jsonl", "tensorboard"
UPLOAD_S = 30.0


class Tracking:
    """Appends to the run's files; a resumed run goes on in the same ones. Those of a run in a bucket grow here and are sent there when a
    stage begins, UPLOAD_S after the last time, and at the end: a bucket cannot append."""

    def __init__(
        self, place: str | Path, *, on_progress: OnProgress | None = None, also: Callable[[Path], Sequence[Tracker]] | None = None
    ) -> None:
        """`place`: the run's folder or s3:// prefix. `also`: opens further trackers, which may keep files in the folder they are given."""
        self._storage = open_storage(place) if is_bucket(place) else None
        self._temporary = TemporaryDirectory(prefix="liyou-run-") if self._storage else None
        self._folder = Path(self._temporary.name if self._temporary else place)
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._storage is not None:
            with suppress(ArtifactNotFound):
                self._storage.get_file(METRICS, self._folder / METRICS)
        _without_torn_line(self._folder / METRICS)
        self._file = (self._folder / METRICS).open("ab")
        self._board = SummaryWriter(str(self._folder / BOARD))
        self._trackers = list(also(self._folder)) if also is not None else []
        self._on_progress = on_progress
        self._stage, self._sent_s = "", time.monotonic()

    def write(self, progress: Progress) -> None:
        self._file.write(orjson.dumps(progress.model_dump(mode="json")) + b"\n")
        self._file.flush()
        if self._storage is not None and (progress.stage != self._stage or time.monotonic() > self._sent_s + UPLOAD_S):
            self._stage, self._sent_s = progress.stage, time.monotonic()
            self._send()
        for name, value in progress.metrics.items():
            self._board.add_scalar(f"{progress.stage}/{name}", value, progress.step)
        if progress.note:
            self._board.add_text(f"{progress.stage}/note", progress.note, progress.step)
        for pair in progress.texts[:1]:
            self._board.add_text(progress.stage, f"{pair.product}\n\nreal: {pair.real}\n\ngenerated: {pair.generated}", progress.step)
        for tracker in self._trackers:
            tracker.write(progress)
        if self._on_progress is not None:
            self._on_progress(progress)

    def close(self) -> None:
        self._file.close()
        self._board.close()
        for tracker in self._trackers:
            tracker.close()
        self._send(everything=True)
        if self._temporary is not None:
            self._temporary.cleanup()

    def _send(self, *, everything: bool = False) -> None:
        """A run is not lost for a bucket that is away for a moment: its state and its bundle have their own ways there. `everything`: the
        files of further trackers too."""
        if self._storage is None:
            return
        try:
            files = self._folder.rglob("*") if everything else (self._folder / METRICS, *(self._folder / BOARD).iterdir())
            for file in (one for one in files if one.is_file()):
                self._storage.put_file(file.relative_to(self._folder).as_posix(), file)
        except StorageUnreachable as error:
            logging.getLogger(__name__).warning("metrics were not sent: %s", error)


def _without_torn_line(file: Path) -> None:
    """A process that is killed, or a full disk, may leave half a line at the end; the step it told of is done again."""
    if file.is_file() and (content := file.read_bytes()) and not content.endswith(b"\n"):
        file.write_bytes(content[: content.rfind(b"\n") + 1])


def read_story(place: str | Path) -> list[Progress]:
    """What the run in a folder or at an s3:// prefix has told so far; empty before its first step."""
    try:
        content = open_storage(place).get(METRICS)
    except ArtifactNotFound:
        return []
    *lines, _ = content.split(b"\n")  # what follows the last end of a line was not written to its end
    return [Progress.model_validate_json(line) for line in lines]


class Mailbox(Protocol):
    """The part of ray.util.queue.Queue that is used."""

    def put(self, item: str) -> None: ...

    def get(self) -> str: ...


def run_mailbox(run: str, *, patience_s: float = 30.0) -> Queue:
    """The queue of a run's progress, by whose name the cluster knows that the run has its one writer.

    A job that was stopped lives on for a moment, hence the patience. Raises Unavailable where another trains this run.
    """
    end_s = time.monotonic() + patience_s
    while True:
        try:
            return Queue(actor_options={**on_this_node(), "name": f"liyou-run-{run}", "namespace": "liyou"})
        except ValueError as error:
            if "already" not in str(error):
                raise
            if time.monotonic() > end_s:
                raise Unavailable(f"run {run}: another process of this cluster trains it now; wait for it, or stop it") from error
            time.sleep(1)


def on_this_node() -> dict[str, object]:
    """Options of an actor that helps the caller: it reserves nothing and lives no shorter than the caller's own node. Placed anywhere, a
    queue of progress went down with a worker's node, and the run that would have outlived that with it."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


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
