"""Looks up what a page is written from: products, the user's past, the codes. Thin over common/features; loads no model, imports no Ray."""

from collections.abc import Callable, Mapping
from datetime import datetime

from common.contract.wire import ItemReason, ReasonsRequest, RequestItem, item_error
from common.domain.context import BehaviorSummary, Context
from common.domain.controls import Controls, ControlVocabulary
from common.domain.product import Product
from common.errors import ProductNotFound
from common.features.preferences import Estimate, estimate, explicit_choices
from common.features.resolve_controls import resolve
from common.features.snapshot import Snapshot
from common.features.summarize import shop_day, summarize


class Features:
    """`snapshot` None: a shop that sends products and events with each request."""

    def __init__(self, snapshot: Snapshot | None, *, vocabulary: ControlVocabulary, now: Callable[[], datetime]) -> None:
        self.snapshot, self.vocabulary, self.now = snapshot, vocabulary, now

    def contexts(self, request: ReasonsRequest) -> list[Context | ItemReason]:
        """One per item, in order; an item whose product nobody knows is its error. Raises BadControl for codes outside the vocabulary."""
        request.check_codes(self.vocabulary)
        behavior, persona, explicit, estimates = self._user(request)
        today = shop_day(self.now())
        found: list[Context | ItemReason] = []
        for item in request.items:
            product = item.product.to_domain() if item.product else self._product(item.names)
            if product is None:
                found.append(self._unknown(item))
                continue
            controls = resolve_codes(request.codes(item), explicit=explicit, estimates=estimates, vocabulary=self.vocabulary)
            found.append(Context(product=product, behavior=behavior, controls=controls, persona=persona, channel=request.channel, on=today))
        return found

    def _user(self, request: ReasonsRequest) -> tuple[BehaviorSummary, str | None, Controls, Mapping[str, Estimate]]:
        """What is known of the user: inline events stand for the whole past, and tastes come from the snapshot either way."""
        user, snapshot = request.user, self.snapshot
        if user is None or not request.personalise:
            return BehaviorSummary(), None, {}, {}
        if user.events is not None:
            behavior = summarize(user.to_domain(), at=self.now(), products=self._named(request))
        else:
            behavior = snapshot.behavior(user.user_id, at=self.now()) if snapshot else BehaviorSummary()
        if snapshot is None:
            return behavior, None, {}, {}
        rows = snapshot.preferences(user.user_id)
        return behavior, snapshot.persona(user.user_id), explicit_choices(rows), estimate(rows, population=snapshot.population())

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


def resolve_codes(
    asked: Mapping[str, str | None], *, explicit: Controls, estimates: Mapping[str, Estimate], vocabulary: ControlVocabulary
) -> Controls:
    """As `resolve`, and null in a request leaves its control free whatever the user's taste or the default."""
    wanted = {name: value for name, value in asked.items() if value is not None}
    resolved = resolve(wanted, explicit=explicit, estimate=estimates, vocabulary=vocabulary)
    return {name: value for name, value in resolved.items() if name in wanted or name not in asked}
