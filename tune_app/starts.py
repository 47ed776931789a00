"""The runs up to the first discriminator that trials share: each is trained once, whoever asks first and however many ask at once."""

import threading
from dataclasses import dataclass

import orjson
import ray
from ray.actor import ActorHandle

from common.artifacts.storage import open_storage
from common.config import Frozen, parse
from common.errors import ArtifactNotFound
from train_app.config import TrainConfig
from train_app.runtime.run import fit_until, run_inputs
from train_app.runtime.start import SHARED_UNTIL, Checkpointed, Start, shared_part
from train_app.runtime.tracking import on_this_node
from train_app.stages.state import Progress
from tune_app.config import TuneConfig
from tune_app.watching import Mailbox, told


class Shared(Frozen):
    """A start that is there: it is looked up by the digest of its configuration and data."""

    state: Checkpointed
    run: str


class Starts:
    """An actor; its calls wait in threads of their own. What was trained is written down, so that a resumed study finds it."""

    def __init__(self, config: TuneConfig, mailbox: Mailbox) -> None:
        self.config, self.mailbox = config, mailbox
        self.storage = open_storage(config.uri)
        self._asking = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def start_of(self, content: dict[str, object]) -> Start:
        """Where a trial with this training configuration begins. Trains what is not there yet; raises as `fit_until`."""
        default, own = shared_part(self.config.train), shared_part(TrainConfig.model_validate(content))
        return Start(state=self._shared(own).state, ruler=self._shared(default).state, ruler_alpha=default.lora.alpha)

    def _shared(self, train: TrainConfig) -> Shared:
        inputs = run_inputs(train)
        key = f"starts/{inputs}.json"
        with self._asking:
            lock = self._locks.setdefault(inputs, threading.Lock())
        with lock:
            try:
                return parse(orjson.loads(self.storage.get(key)), Shared, source=f"{self.storage.uri}/{key}")
            except ArtifactNotFound:
                pass

            def on_progress(progress: Progress) -> None:
                told(self.mailbox, f"start {inputs[:6]}", progress)

            halted = fit_until(train, on_progress, until=SHARED_UNTIL)
            made = Shared(state=halted.state, run=halted.run)
            self.storage.put(key, made.model_dump_json().encode())
            return made


@dataclass(frozen=True, slots=True)
class SharedStarts:
    """The actor as trials call it."""

    actor: "ActorHandle[Starts]"

    def start_of(self, train: TrainConfig) -> Start:
        """Waits while it is trained."""
        found: object = ray.get(self.actor.start_of.remote(train.model_dump(mode="json")))
        assert isinstance(found, Start)
        return found


def starts_actor(config: TuneConfig, mailbox: Mailbox) -> "ActorHandle[Starts]":
    """On the node of the driver; it reserves nothing, the runs that it starts reserve their own."""
    return ray.remote(max_concurrency=config.max_concurrent, **on_this_node())(Starts).remote(config, mailbox)  # type: ignore[call-overload, no-any-return]  # Ray's stubs know no class with options
