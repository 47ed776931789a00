"""Answers a page: contexts, texts and verdicts from three other deployments, each one call a page; templates when they cannot help.

Knows no Ray: the hops are arguments. A deadline never fails a page, and neither does a dead engine: what could not be generated in time is
a template that says so. Without the features deployment inline products still get templates; only when nothing at all can be shown does
the page fail.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from common.contract.deadline import Deadline
from common.contract.provenance import Statement, label
from common.contract.takedown import Standing
from common.contract.vouching import Voucher
from common.contract.wire import ItemReason, ReasonsRequest, ReasonsResponse, attribution_of, evidence_of, item_error, verdict_of
from common.domain.context import Context
from common.domain.product import Product
from common.domain.reason import Attribution, QualityVerdict, Reason, Source
from common.errors import ConstraintsUnmet, DeadlineExceeded, ProductNotFound, PromptTooLong, Refused, TakenDown, Unavailable
from common.generation.answer import DEADLINE, ENGINE_UNAVAILABLE, OVERLOADED, AnswerPolicy, Beside, Items, Tell, Write, Written, answer
from common.generation.candidates import Candidate
from common.generation.template import fill_if_lawful
from common.quality.constraints import NAMES
from common.quality.variety import Shown
from common.quality.verdict import Checker
from serve_app.graph.admission import Tenant
from serve_app.graph.cached import Cached
from serve_app.graph.features_deployment import checked, context_of
from serve_app.graph.showing import Showing
from serve_app.http.lines import TellItem
from serve_app.state.cache import cache_key
from serve_app.state.live import Live
from serve_app.telemetry.stages import OFF, Telemetry

SANDBOX = "sandbox"
WARMING = "warming"
"""Whose turn it is at the engine when pages are written ahead: one tenant's beside all others', whoever asks."""
TAKEN_DOWN = "taken_down"
FEATURES_UNAVAILABLE = "features_unavailable"
NOT_WRITTEN = frozenset({DEADLINE, ENGINE_UNAVAILABLE, OVERLOADED, FEATURES_UNAVAILABLE})
"""Why a template is shown although the model might have found a text."""
LeftS = Callable[[], float]
"""Seconds a hop may still take; asked again at each attempt."""


class Hops(Protocol):
    """The other deployments as a page sees them. Each raises Unavailable when it cannot help."""

    async def contexts(self, request: ReasonsRequest, *, policy: str | None, left_s: LeftS) -> list[Context | ItemReason]: ...

    async def write(self, contexts: Sequence[Context], *, k: int, attempt: int, tenant: Tenant, left_s: LeftS) -> list[Written]: ...

    def each(
        self, contexts: Sequence[Context], *, k: int, attempt: int, tenant: Tenant, left_s: LeftS
    ) -> AsyncIterator[tuple[int, Written]]:
        """As `write`, place by place as each is done."""

    async def attributed(self, contexts: Sequence[Context], texts: Sequence[str], *, left_s: LeftS) -> list[tuple[Attribution, ...]]: ...

    async def judge(
        self, contexts: Sequence[Context], candidates: Sequence[Sequence[Candidate]], *, policy: str | None, left_s: LeftS
    ) -> list[list[QualityVerdict]]: ...


@dataclass(frozen=True, slots=True)
class _Asking:
    """Who asks, until when, and how."""

    tenant: Tenant
    deadline: Deadline
    left_s: LeftS
    one_by_one: bool
    warming: bool

    @property
    def lane(self) -> Tenant:
        """Whose turns at the engine it takes."""
        return WARMING if self.warming else self.tenant


@dataclass(frozen=True, slots=True)
class Page:
    """What the ingress knows by itself: the bundle's card and pack, so that it can fill templates when it is alone. It knows one policy:
    under another one the ingress begins with another `Page`, and what was begun is ended under the first."""

    live: Live
    hops: Hops
    checker: Checker
    policy: AnswerPolicy
    producer: str
    clock: Callable[[], float]
    varied: bool = True
    """whether no two accepted reasons of a page may read alike"""
    cached: Cached | None = None
    """None: every item is written anew."""
    voucher: Voucher | None = None
    """None: reasons are not signed."""
    standing: Callable[[], Standing] = Standing
    """orders of takedown as they stand"""
    now: Callable[[], float] = time.time
    """what the calendar says, for how long a signature stands"""
    telemetry: Telemetry = OFF

    async def answer(
        self,
        request: ReasonsRequest,
        *,
        request_id: str,
        deadline: Deadline,
        tenant: Tenant = None,
        sandbox: bool = False,
        warming: bool = False,
        explain: bool = False,
        tell: TellItem | None = None,
    ) -> ReasonsResponse:
        """`sandbox`: templates for all, and no model is asked. `warming`: nobody waits for it, it takes one turn among all. `tell`: items
        are written one by one, so that each can be told as soon as it is accepted, at the cost of more calls; None: a page as one.
        `explain`: what each code had to do with what a model wrote is told too, if there is time; not where items are told one by one.

        Raises BadControl for a code that the bundle does not have, ProductNotFound when nobody knows any product of the page,
        DeadlineExceeded or Unavailable when no item could be answered. Nothing has been told then.
        """
        asking = _Asking(
            tenant=tenant,
            deadline=deadline,
            left_s=lambda: deadline.left_s(now_s=self.clock()) - self.policy.reserve_s,
            one_by_one=tell is not None,
            warming=warming,
        )
        try:
            # Templates need what is looked up here: the reserve that is kept for them may be spent on it.
            found = await self.hops.contexts(request, policy=self.live.policy, left_s=lambda: deadline.left_s(now_s=self.clock()))
            missing = None
        except Unavailable:
            found = self._alone(request)
            missing = FEATURES_UNAVAILABLE
        items = {at: entry for at, entry in enumerate(found) if isinstance(entry, ItemReason)}
        contexts = {at: entry for at, entry in enumerate(found) if isinstance(entry, Context)}
        if not contexts and missing is None:
            raise unknown_page(found)
        if not contexts:
            late = asking.left_s() <= 0
            raise (DeadlineExceeded if late else Unavailable)("products could not be looked up in time; send them inline, or try again")
        for at, context in list(contexts.items()):
            if (taken_down := self._taken_down(context.product)) is not None:
                items[at] = taken_down
                del contexts[at]
            else:
                contexts[at] = without_barred_past(context, self.standing())
        if missing is None and sandbox:
            missing = SANDBOX
        if tell:
            for at, item in items.items():
                tell(at, item)

        places = list(contexts)

        def take(number: int, reason: Reason) -> None:
            at = places[number]
            with self.telemetry.stage("sign"):
                items[at] = self._item(contexts[at], reason)
            if tell:
                tell(at, items[at])

        if missing is None:
            await self._reasons(list(contexts.values()), asking, take)
        else:
            for number, context in enumerate(contexts.values()):
                take(number, self._template(context, degraded=missing))
        if explain:
            items |= await self._explained(items, contexts, asking)
        return self.response([items[at] for at in range(len(found))], request_id=request_id)

    async def _explained(
        self, items: Mapping[int, ItemReason], contexts: Mapping[int, Context], asking: "_Asking"
    ) -> dict[int, ItemReason]:
        """Those that a model wrote, with their attribution; a page is answered without it where it cannot be had in time."""
        written = {at: item.text for at, item in items.items() if item.text and item.source != "template"}
        if not written:
            return {}
        try:
            found = await self.hops.attributed([contexts[at] for at in written], list(written.values()), left_s=asking.left_s)
        except (Unavailable, PromptTooLong):
            return {}
        return {at: items[at].model_copy(update={"attribution": attribution_of(own)}) for at, own in zip(written, found, strict=True)}

    def response(self, items: Sequence[ItemReason], *, request_id: str) -> ReasonsResponse:
        return ReasonsResponse(
            request_id=request_id,
            bundle_id=self.live.manifest.bundle_id,
            policy_version=self.live.pack.policy_version,
            degraded=any(item.degraded for item in items),
            items=tuple(items),
        )

    async def _reasons(self, contexts: list[Context], asking: "_Asking", tell: Tell) -> None:
        beside = Showing(self.standing, self._content_of, Shown() if self.varied else None)
        written = partial(self._written_one_by_one if asking.one_by_one else self._written, asking=asking)
        if self.cached is None:
            await written(contexts, beside, tell)
            return
        key = partial(
            cache_key,
            tenant=asking.tenant,
            bundle_id=self.live.manifest.bundle_id,
            policy_version=self.live.pack.policy_version,
            answering=f"{self.policy.k} candidates, {self.policy.max_attempts} attempts",
        )
        keys = [key(context) for context in contexts]
        left_s = lambda: asking.left_s() - self.policy.expected_s  # noqa: E731
        await self.cached.answer(contexts, keys, write=written, beside=beside, left_s=left_s, tell=tell, ahead=asking.warming)

    async def _written(self, contexts: list[Context], beside: Beside, tell: Tell, *, asking: "_Asking") -> None:
        async def write(items: Items, *, k: int, attempt: int) -> list[Written]:
            return await self._write([context for _, context in items], k=k, attempt=attempt, asking=asking)

        await self._answer(contexts, write, beside, tell, asking=asking)

    async def _written_one_by_one(self, contexts: list[Context], beside: Beside, tell: Tell, *, asking: "_Asking") -> None:
        """Each item has its own rounds beside the others'; the first is one call for all, of which each part is taken as it comes."""
        first: list[asyncio.Future[Written]] = [asyncio.get_running_loop().create_future() for _ in contexts]

        async def begin() -> None:
            try:
                async for at, own in self.hops.each(contexts, k=self.policy.k, attempt=0, tenant=asking.lane, left_s=asking.left_s):
                    first[at].set_result(own)
            except Unavailable as error:
                for one in first:
                    if not one.done():
                        one.set_exception(error)
                        one.exception()  # whoever runs out of time before it asks is not to be warned of
            finally:
                for one in first:
                    one.cancel()

        async def alone(at: int) -> None:
            async def write(items: Items, *, k: int, attempt: int) -> list[Written]:
                if attempt == 0:
                    await asyncio.wait([first[at]])
                    if not first[at].cancelled():
                        return [first[at].result()]
                # Somebody on this page is wrong in itself. Asked one by one, each fares as it would have fared alone.
                return await self._write([contexts[at]], k=k, attempt=attempt, asking=asking)

            await self._answer([contexts[at]], write, beside, lambda _, reason: tell(at, reason), asking=asking)

        tasks = [asyncio.ensure_future(begin()), *(asyncio.ensure_future(alone(at)) for at in range(len(contexts)))]
        try:
            await asyncio.gather(*tasks[1:])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, contexts: list[Context], *, k: int, attempt: int, asking: "_Asking") -> list[Written]:
        return await self.hops.write(contexts, k=k, attempt=attempt, tenant=asking.lane, left_s=asking.left_s)

    async def _answer(self, contexts: list[Context], write: Write, beside: Beside, tell: Tell, *, asking: "_Asking") -> None:
        async def judge(contexts: list[Context], candidates: list[list[Candidate]]) -> list[list[QualityVerdict]]:
            return await self.hops.judge(contexts, candidates, policy=self.live.policy, left_s=asking.left_s)

        await answer(
            contexts,
            write=write,
            judge=judge,
            fill=partial(fill_if_lawful, checker=self.checker),
            clock=self.clock,
            deadline_s=asking.deadline.at_s,
            policy=self.policy,
            beside=beside,
            tell=tell,
        )

    def _alone(self, request: ReasonsRequest) -> list[Context | ItemReason]:
        """What the request itself tells: inline products for a user of whom nothing is known."""
        channel = checked(request, self.live.pack)
        lost = Unavailable("the product could not be looked up in time; send it inline, or try again")
        return [
            context_of(request, item, item.product.to_domain(), channel=channel, checker=self.checker)
            if item.product
            else item_error(item.names, lost)
            for item in request.items
        ]

    def _template(self, context: Context, *, degraded: str) -> Reason:
        text, verdict = fill_if_lawful(context, checker=self.checker)
        return Reason(text=text, source="template", controls=context.controls, verdict=verdict, degraded=degraded)

    def _item(self, context: Context, reason: Reason) -> ItemReason:
        """Orders of takedown are looked at last, whatever the text came from: one may have come while it was written."""
        product, standing = context.product, self.standing()
        if (taken_down := self._taken_down(product)) is not None:
            return taken_down
        if reason.source != "template" and self._barred(context, reason):
            reason = self._template(context, degraded=TAKEN_DOWN)
        if unmet := unmet_constraints(reason):
            return item_error(product.product_id, unmet)
        if not reason.text or standing.of_text(reason.text) is not None:
            return item_error(
                product.product_id, Refused("neither a candidate nor a template passed the checks for this product and its codes")
            )
        stated = self._stated(context, reason.text, source=reason.source)
        aigc = label(stated)
        if (number := standing.of_content(aigc.produce_id)) is not None:
            return item_error(
                product.product_id, TakenDown(f"this text is not to be shown by order {number}; nothing else was left to show")
            )
        return ItemReason(
            product_id=product.product_id,
            status="ok",
            text=reason.text,
            source=reason.source,
            controls=reason.controls,
            verdict=verdict_of(reason.verdict),
            evidence=evidence_of(reason.verdict.evidence()),
            aigc=aigc,
            revision=stated.revision,
            signature=self.voucher.sign(stated, now_s=self.now()) if self.voucher else None,
            attempts=reason.attempts,
            degraded=reason.degraded,
        )

    def _stated(self, context: Context, text: str, *, source: Source) -> Statement:
        return Statement(
            product_id=context.product.product_id,
            revision=context.product.revision,
            text=text,
            source=source,
            controls=context.controls,
            bundle_id=self.live.manifest.bundle_id,
            policy_version=self.live.pack.policy_version,
            producer=self.producer,
        )

    def _content_of(self, context: Context, text: str) -> str:
        return label(self._stated(context, text, source="model")).produce_id

    def _barred(self, context: Context, reason: Reason) -> bool:
        return Showing(self.standing, self._content_of, None).bars(context, reason.text) is not None

    def _taken_down(self, product: Product) -> ItemReason | None:
        number = self.standing().of_product(product)
        if number is None:
            return None
        return item_error(product.product_id, TakenDown(f"nothing is said of this product by order {number}; `liyou takedown list` has it"))


def without_barred_past(context: Context, standing: Standing) -> Context:
    """As if the user had never met what was taken down: a reason may name what somebody viewed or bought."""
    mentions = {
        name: mention
        for name in ("last_viewed", "last_clicked", "last_carted", "last_purchased", "last_reviewed")
        if (mention := getattr(context.behavior, name)) is not None
    }
    barred = {name for name, mention in mentions.items() if standing.of_product_id(mention.product_id) is not None}
    if not barred:
        return context
    changes: dict[str, object] = dict.fromkeys(barred)
    if "last_reviewed" in barred:
        changes |= {"last_review_emotion": None, "last_review_content": None}
    return context.model_copy(update={"behavior": context.behavior.model_copy(update=changes)})


def unmet_constraints(reason: Reason) -> ConstraintsUnmet | None:
    """Of an item without a text: what it asks for and even the template that came closest is not."""
    checks = [reason.verdict.checks[name] for name in NAMES if name in reason.verdict.checks]
    if reason.text or all(check.passed for check in checks):
        return None
    told = "; ".join(f"{check.name}: {', '.join(check.findings)}" for check in checks if not check.passed)
    together = f" (asked for together: {', '.join(check.name for check in checks)})" if len(checks) > 1 else ""
    untried = reason.degraded in NOT_WRITTEN
    who = "no template, and the model was not heard," if untried else "neither a candidate nor a template"
    return ConstraintsUnmet(f"{who} is as the item asks: {told}{together}", retryable=untried)


def unknown_page(items: Sequence[Context | ItemReason]) -> ProductNotFound:
    """A page with no product that can be shown is the caller's mistake; among others an unknown product fails its item alone."""
    told = [item.error.message for item in items if isinstance(item, ItemReason) and item.error]
    more = f" ({len(told) - 1} more)" if len(told) > 1 else ""
    fields = tuple((f"/items/{at}/product_id", message) for at, message in enumerate(told))
    return ProductNotFound(f"{told[0]}{more}", fields=fields)
