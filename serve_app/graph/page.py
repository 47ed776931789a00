"""Answers a page: contexts, texts and verdicts from three other deployments, each one call a page; templates when they cannot help.

Knows no Ray: the hops are arguments. A deadline never fails a page, and neither does a dead engine: what could not be generated in time is
a template that says so. Without the features deployment inline products still get templates; only when nothing at all can be shown does
the page fail.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from common.contract.deadline import Deadline
from common.contract.provenance import Statement, label
from common.contract.vouching import Voucher
from common.contract.wire import ItemReason, ReasonsRequest, ReasonsResponse, evidence_of, item_error, verdict_of
from common.domain.context import Context
from common.domain.product import Product
from common.domain.reason import QualityVerdict, Reason
from common.errors import DeadlineExceeded, ProductNotFound, Refused, Unavailable
from common.generation.answer import AnswerPolicy, Items, answer
from common.generation.candidates import Candidate
from common.generation.template import fill_if_lawful
from common.quality.verdict import Checker
from serve_app.graph.cached import Cached
from serve_app.graph.features_deployment import resolve_codes
from serve_app.state.cache import cache_key
from serve_app.state.live import Live
from serve_app.telemetry.stages import OFF, Telemetry

SANDBOX = "sandbox"
LeftS = Callable[[], float]
"""Seconds a hop may still take; asked again at each attempt."""


class Hops(Protocol):
    """The other deployments as a page sees them. Each raises Unavailable when it cannot help."""

    async def contexts(self, request: ReasonsRequest, *, left_s: LeftS) -> list[Context | ItemReason]: ...

    async def write(self, contexts: Sequence[Context], *, k: int, attempt: int, left_s: LeftS) -> list[list[Candidate]]: ...

    async def judge(
        self, contexts: Sequence[Context], candidates: Sequence[Sequence[Candidate]], *, left_s: LeftS
    ) -> list[list[QualityVerdict]]: ...


@dataclass(frozen=True, slots=True)
class Page:
    """What the ingress knows by itself: the bundle's card and pack, so that it can fill templates when it is alone."""

    live: Live
    hops: Hops
    checker: Checker
    policy: AnswerPolicy
    producer: str
    clock: Callable[[], float]
    cached: Cached | None = None
    """None: every item is written anew."""
    voucher: Voucher | None = None
    """None: reasons are not signed."""
    now: Callable[[], float] = time.time
    """what the calendar says, for how long a signature stands"""
    telemetry: Telemetry = OFF

    async def answer(
        self, request: ReasonsRequest, *, request_id: str, deadline: Deadline, tenant: str | None = None, sandbox: bool = False
    ) -> ReasonsResponse:
        """`sandbox`: templates for all, and no model is asked.

        Raises BadControl for a code that the bundle does not have, ProductNotFound when nobody knows any product of the page,
        DeadlineExceeded or Unavailable when no item could be answered.
        """

        def left_s() -> float:
            return deadline.left_s(now_s=self.clock()) - self.policy.reserve_s

        try:
            # Templates need what is looked up here: the reserve that is kept for them may be spent on it.
            found = await self.hops.contexts(request, left_s=lambda: deadline.left_s(now_s=self.clock()))
            missing = None
        except Unavailable:
            found = self._alone(request)
            missing = "features_unavailable"
        contexts = [context for context in found if isinstance(context, Context)]
        if missing is None and not contexts:
            raise unknown_page(found)
        if missing is None and sandbox:
            missing = SANDBOX
        if missing is None:
            reasons = await self._reasons(contexts, tenant=tenant, deadline=deadline, left_s=left_s)
        elif contexts:
            reasons = [self._template(context, degraded=missing) for context in contexts]
        else:
            late = left_s() <= 0
            raise (DeadlineExceeded if late else Unavailable)("products could not be looked up in time; send them inline, or try again")
        return self._response(found, reasons, request_id=request_id)

    async def _reasons(self, contexts: list[Context], *, tenant: str | None, deadline: Deadline, left_s: LeftS) -> list[Reason]:
        written = partial(self._written, deadline=deadline, left_s=left_s)
        if self.cached is None:
            return await written(contexts, ())
        key = partial(
            cache_key,
            tenant=tenant,
            bundle_id=self.live.manifest.bundle_id,
            policy_version=self.live.pack.policy_version,
            answering=f"{self.policy.k} candidates, {self.policy.max_attempts} attempts",
        )
        keys = [key(context) for context in contexts]
        return await self.cached.answer(
            contexts, keys, write=written, varied=self.policy.varied, left_s=lambda: left_s() - self.policy.expected_s
        )

    async def _written(self, contexts: list[Context], beside: Sequence[str], *, deadline: Deadline, left_s: LeftS) -> list[Reason]:
        async def write(items: Items, *, k: int, attempt: int) -> list[list[Candidate]]:
            return await self.hops.write([context for _, context in items], k=k, attempt=attempt, left_s=left_s)

        async def judge(contexts: list[Context], candidates: list[list[Candidate]]) -> list[list[QualityVerdict]]:
            return await self.hops.judge(contexts, candidates, left_s=left_s)

        return await answer(
            contexts,
            write=write,
            judge=judge,
            fill=partial(fill_if_lawful, checker=self.checker),
            clock=self.clock,
            deadline_s=deadline.at_s,
            policy=self.policy,
            beside=beside,
        )

    def _alone(self, request: ReasonsRequest) -> list[Context | ItemReason]:
        """What the request itself tells: inline products for a user of whom nothing is known."""
        request.check_codes(self.live.pack.vocabulary)
        lost = Unavailable("the product could not be looked up in time; send it inline, or try again")
        return [
            Context(
                product=item.product.to_domain(),
                controls=resolve_codes(request.codes(item), explicit={}, estimates={}, vocabulary=self.live.pack.vocabulary),
                channel=request.channel,
            )
            if item.product
            else item_error(item.names, lost)
            for item in request.items
        ]

    def _template(self, context: Context, *, degraded: str) -> Reason:
        text, verdict = fill_if_lawful(context, checker=self.checker)
        return Reason(text=text, source="template", controls=context.controls, verdict=verdict, degraded=degraded)

    def _response(self, found: Sequence[Context | ItemReason], reasons: Sequence[Reason], *, request_id: str) -> ReasonsResponse:
        written = iter(reasons)
        with self.telemetry.stage("sign"):
            items = tuple(self._item(entry.product, next(written)) if isinstance(entry, Context) else entry for entry in found)
        return ReasonsResponse(
            request_id=request_id,
            bundle_id=self.live.manifest.bundle_id,
            policy_version=self.live.pack.policy_version,
            degraded=any(reason.degraded for reason in reasons),
            items=items,
        )

    def _item(self, product: Product, reason: Reason) -> ItemReason:
        if not reason.text:
            return item_error(
                product.product_id, Refused("neither a candidate nor a template passed the checks for this product and its codes")
            )
        stated = Statement(
            product_id=product.product_id,
            revision=product.revision,
            text=reason.text,
            source=reason.source,
            controls=reason.controls,
            bundle_id=self.live.manifest.bundle_id,
            policy_version=self.live.pack.policy_version,
            producer=self.producer,
        )
        return ItemReason(
            product_id=product.product_id,
            status="ok",
            text=reason.text,
            source=reason.source,
            controls=reason.controls,
            verdict=verdict_of(reason.verdict),
            evidence=evidence_of(reason.verdict.evidence()),
            aigc=label(stated),
            revision=stated.revision,
            signature=self.voucher.sign(stated, now_s=self.now()) if self.voucher else None,
            attempts=reason.attempts,
            degraded=reason.degraded,
        )


def unknown_page(items: Sequence[Context | ItemReason]) -> ProductNotFound:
    """A page with no product that can be shown is the caller's mistake; among others an unknown product fails its item alone."""
    told = [item.error.message for item in items if isinstance(item, ItemReason) and item.error]
    more = f" ({len(told) - 1} more)" if len(told) > 1 else ""
    fields = tuple((f"/items/{at}/product_id", message) for at, message in enumerate(told))
    return ProductNotFound(f"{told[0]}{more}", fields=fields)
