"""Looks up what a page is written from: products, the user's past, the codes. Thin over common/features; loads no model, imports no Ray."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from common.contract.asked import channel_of, check_constraints, constraints_of
from common.contract.wire import ItemReason, ReasonsRequest, RequestItem, item_error
from common.domain.channel import Channel
from common.domain.context import BehaviorSummary, Context
from common.domain.controls import Controls
from common.domain.product import Product
from common.errors import ProductNotFound
from common.features.preferences import Estimate, estimate, explicit_choices
from common.features.resolve_controls import resolve
from common.features.snapshot import Snapshot
from common.features.summarize import shop_day, summarize
from common.packs.schema import Pack
from common.quality.verdict import Checker


@dataclass(frozen=True, slots=True)
class Tastes:
    explicit: Controls = field(default_factory=dict)
    estimates: Mapping[str, Estimate] = field(default_factory=dict)


class Features:
    """`snapshot` None: a shop that sends products and events with each request."""

    def __init__(self, snapshot: Snapshot | None, *, checker: Checker, now: Callable[[], datetime]) -> None:
        self.snapshot, self.checker, self.now = snapshot, checker, now

    def contexts(self, request: ReasonsRequest, *, checker: Checker | None = None) -> list[Context | ItemReason]:
        """One per item, in order; an item whose product nobody knows is its error. `checker`: of the policy that the page began with, whose
        channels and knowledge count; None: the one that it was made with. Raises as `checked`."""
        checker = checker or self.checker
        channel = checked(request, checker.pack)
        behavior, persona, tastes = self._user(request)
        today = shop_day(self.now())
        found: list[Context | ItemReason] = []
        for item in request.items:
            product = item.product.to_domain() if item.product else self._product(item.names)
            if product is None:
                found.append(self._unknown(item))
                continue
            asked = context_of(request, item, product, channel=channel, checker=checker, tastes=tastes)
            found.append(asked.model_copy(update={"behavior": behavior, "persona": persona, "on": today}))
        return found

    def _user(self, request: ReasonsRequest) -> tuple[BehaviorSummary, str | None, Tastes]:
        """What is known of the user: inline events stand for the whole past, and tastes come from the snapshot either way."""
        user, snapshot = request.user, self.snapshot
        if user is None or not request.personalise:
            return BehaviorSummary(), None, Tastes()
        if user.events is not None:
            behavior = summarize(user.to_domain(), at=self.now(), products=self._named(request))
        else:
            behavior = snapshot.behavior(user.user_id, at=self.now()) if snapshot else BehaviorSummary()
        if snapshot is None:
            return behavior, None, Tastes()
        rows = snapshot.preferences(user.user_id)
        tastes = Tastes(explicit_choices(rows), estimate(rows, population=snapshot.population()))
        return behavior, snapshot.persona(user.user_id), tastes

    def _named(self, request: ReasonsRequest) -> dict[str, Product]:
        """The products that inline events speak of, as far as they are known; what the request says of a product stands first."""
        inline = {item.names: item.product.to_domain() for item in request.items if item.product}
        events = request.user.events if request.user and request.user.events else ()
        wanted = {event.product_id for event in events}
        known = {product_id: inline.get(product_id) or self._product(product_id) for product_id in wanted}
        return {product_id: product for product_id, product in known.items() if product is not None}

    def _product(self, product_id: str) -> Product | None:
        return self.snapshot.product(product_id) if self.snapshot else None

    def _unknown(self, item: RequestItem) -> ItemReason:
        where = "the snapshot has no such product" if self.snapshot else "this server has no snapshot"
        return item_error(item.names, ProductNotFound(f"product_id {item.names!r}: {where}; send it inline as `product`"))


def checked(request: ReasonsRequest, pack: Pack) -> Channel:
    """The request's channel. Raises BadControl, BadChannel or BadInput naming what the pack does not have, or what no text can be."""
    request.check_codes(pack.vocabulary)
    channel = channel_of(request, pack.channels.channels)
    check_constraints(request, channel=channel, least_chars=pack.controls.least_chars)
    return channel


def context_of(
    request: ReasonsRequest,
    item: RequestItem,
    product: Product,
    *,
    channel: Channel,
    checker: Checker,
    tastes: Tastes = Tastes(),
) -> Context:
    """What the request itself says of one item; of the user nothing but tastes. The query ends here: what it asks for goes on."""
    constraints = constraints_of(item, channel=channel)
    return Context(
        product=product,
        controls=_codes(request.codes(item), tastes, channel=channel, pack=checker.pack, max_chars=constraints.max_chars),
        channel=request.channel,
        constraints=constraints,
        wished=() if request.query is None else checker.wishes(request.query, product),
    )


def _codes(asked: Mapping[str, str | None], tastes: Tastes, *, channel: Channel, pack: Pack, max_chars: int | None) -> Controls:
    """As `resolve`, and null in a request leaves its control free whatever the user's taste, the channel or the default."""
    wanted = {name: value for name, value in asked.items() if value is not None}
    resolved = resolve(
        wanted,
        explicit=tastes.explicit,
        estimate=tastes.estimates,
        vocabulary=pack.vocabulary,
        channel=channel.controls,
        passed_over=pack.controls.too_long(max_chars),
    )
    return {name: value for name, value in resolved.items() if name in wanted or name not in asked}
