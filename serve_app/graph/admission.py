"""Who is let in to be written, and who is next: nothing waits that could not end in time, and no tenant takes another's turn.

Counts sequences; knows neither engine nor clock, and times nothing itself.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)
Tenant = str | None

SHARE = 0.9
"""Of the time that an asker has, what the work before and with it may be expected to take."""


class Admission(Generic[Thing]):
    """Tenants take turns, a sequence a turn; what one tenant asks for is begun in the order in which it came.

    The turns are start-time fair queueing (Goyal, Vin and Cheng, 1996, with equal weights and costs): a tenant that comes when others wait
    is served beside them from then on, and what it did not ask for earlier gives it no claim.
    """

    def __init__(self, *, slots: int) -> None:
        """`slots`: sequences that an engine runs at once; as many are let in whatever the time."""
        self.slots = slots
        self._waiting: dict[Tenant, OrderedDict[Thing, None]] = {}
        self._tenant_of: dict[Thing, Tenant] = {}
        self._unfinished: dict[Tenant, int] = {}
        self._turns: dict[Tenant, int] = {}
        """turns that a tenant has had, or had missed when it began to wait"""
        self._turn = 0

    def __len__(self) -> int:
        """Let in and not finished, begun or not."""
        return len(self._tenant_of)

    @property
    def num_waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def room(self, num: int, *, tenant: Tenant, within_s: float, seconds_a_sequence: float) -> int:
        """How many of `num` sequences, begun in their order, are expected to end `within_s`; `seconds_a_sequence` is what a finished one
        takes while all slots are in use. The last of n ends behind all that is unfinished, but where its tenant's turns come first
        behind its own share only."""
        if seconds_a_sequence <= 0:
            return num
        own, total, tenants = self._unfinished.get(tenant, 0), len(self), len(self._unfinished.keys() | {tenant})
        ends = within_s * SHARE / seconds_a_sequence
        fits = max(int(ends) - total, int(ends / tenants) - own, self.slots - total)
        return min(num, max(0, fits))

    def add(self, thing: Thing, *, tenant: Tenant) -> None:
        if tenant not in self._waiting:
            self._turns[tenant] = max(self._turns.get(tenant, 0), self._turn)
        self._unfinished[tenant] = self._unfinished.get(tenant, 0) + 1
        self._tenant_of[thing] = tenant
        self._waiting.setdefault(tenant, OrderedDict())[thing] = None

    def next(self) -> Thing | None:
        """What is to be begun now; it stays unfinished until `done`."""
        if not self._waiting:
            return None
        tenant = min(self._waiting, key=lambda one: self._turns[one])
        thing, _ = self._waiting[tenant].popitem(last=False)
        self._turn = self._turns[tenant]
        self._turns[tenant] += 1
        if not self._waiting[tenant]:
            del self._waiting[tenant]
        return thing

    def withdraw(self, thing: Thing) -> bool:
        """Whether it was waiting: it is done then."""
        tenant = self._tenant_of.get(thing)
        if thing not in self._waiting.get(tenant, ()):
            return False
        del self._waiting[tenant][thing]
        if not self._waiting[tenant]:
            del self._waiting[tenant]
        self.done(thing)
        return True

    def done(self, thing: Thing) -> None:
        tenant = self._tenant_of.pop(thing)
        self._unfinished[tenant] -= 1
        if not self._unfinished[tenant]:
            del self._unfinished[tenant], self._turns[tenant]
