"""Who is admitted next. Knows waiting sequences and their prefixes; no model and no clock."""

from collections import OrderedDict
from dataclasses import dataclass

from common.domain.decoding import DecodingParams
from common.generation.engine import Sequence

Prefix = tuple[int, ...]


def shared_prefix(ids: tuple[int, ...], prefix_len: int) -> Prefix:
    """What is prefilled apart: cut at one place whoever the neighbours are, with at least one token left to feed."""
    return ids[: min(prefix_len, len(ids) - 1)]


@dataclass(frozen=True, slots=True)
class Waiting:
    sequence_id: int
    sequence: Sequence
    decoding: DecodingParams
    prefix: Prefix

    @property
    def num_rows(self) -> int:
        """A guided sequence runs twice, with and without its codes."""
        return 2 if self.decoding.guidance > 1 else 1


class WaitingLine:
    """First come, first served, except that whoever shares the first one's prefix may go along with it while there is room.

    The first in line always goes first, so that nobody waits for ever.
    """

    def __init__(self) -> None:
        self._in_order: OrderedDict[int, Waiting] = OrderedDict()
        self._by_prefix: dict[Prefix, OrderedDict[int, Waiting]] = {}

    def __len__(self) -> int:
        return len(self._in_order)

    def add(self, waiting: Waiting) -> None:
        self._in_order[waiting.sequence_id] = waiting
        self._by_prefix.setdefault(waiting.prefix, OrderedDict())[waiting.sequence_id] = waiting

    def remove(self, sequence_id: int) -> bool:
        """Whether it was waiting."""
        waiting = self._in_order.pop(sequence_id, None)
        if waiting is None:
            return False
        company = self._by_prefix[waiting.prefix]
        del company[sequence_id]
        if not company:
            del self._by_prefix[waiting.prefix]
        return True

    def take(self, num_rows: int) -> list[Waiting]:
        """As many as fit into `num_rows`, in the order of admission; they no longer wait afterwards."""
        taken: list[Waiting] = []
        free = num_rows
        while self._in_order:
            first = next(iter(self._in_order.values()))
            if first.num_rows > free:
                break
            going: list[Waiting] = []
            for waiting in self._by_prefix[first.prefix].values():
                if waiting.num_rows <= free:
                    going.append(waiting)
                    free -= waiting.num_rows
                if not free:
                    break
            for waiting in going:
                self.remove(waiting.sequence_id)
            taken += going
        return taken
