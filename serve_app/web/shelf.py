"""A snapshot's products and users as somebody looks for them by hand. Reads the mapped tables, keeps nothing, and knows no HTTP."""

from dataclasses import dataclass
from itertools import islice

import orjson
import pyarrow.compute as pc
from pydantic import Field

from common.contract.wire import Reply
from common.domain.context import Dealing
from common.domain.controls import ControlVocabulary
from common.domain.product import Product
from common.errors import BadInput
from common.features.snapshot import Snapshot

PAGE = 8
MAX_READ = 20_000
"""Rows that one search reads: a fifth of a second of one core."""
NUM_USERS = 8
SCANNED_EVENTS = 50_000
"""Users are chosen among those of so many events: a shop may have any number of users, and a person looks at a few."""


class FoundProducts(Reply):
    products: tuple[Product, ...]
    next_offset: int | None = Field(description="where the next page begins; null: this was the last")


class ShopUser(Reply):
    user_id: str
    num_events: int
    lately: dict[Dealing, str] = Field(description="what the user did last of each kind -> the product's title")


class Shop(Reply):
    """What can be switched: for whom a page is asked, and with which codes."""

    users: tuple[ShopUser, ...]
    vocabulary: ControlVocabulary


@dataclass(frozen=True, slots=True)
class Shelf:
    snapshot: Snapshot
    vocabulary: ControlVocabulary

    def products(self, words: str, *, offset: int) -> FoundProducts:
        """Those with every word in title, category or attributes; a text without spaces is one word. In the order of the file.

        Raises BadInput for words that a large catalogue has everywhere but where they are looked for (in descriptions, say).
        """
        wanted = words.lower().split()
        data = self.snapshot.files["products"].batch.column("data")
        for word in wanted:  # a row is a product as JSON: most that cannot match are left out without reading them
            data = data.filter(pc.match_substring(data, orjson.dumps(word).decode()[1:-1], ignore_case=True))
        rows = (Product.model_validate_json(row.as_py()) for row in data[:MAX_READ])
        matching = (product for product in rows if all(word in _told(product) for word in wanted))
        found = list(islice(matching, offset, offset + PAGE + 1))
        if len(found) <= PAGE and len(data) > MAX_READ:
            raise BadInput(f"q: {words!r:.40} is not found in {MAX_READ} products that may have it; search for rarer words")
        return FoundProducts(products=tuple(found[:PAGE]), next_offset=offset + PAGE if len(found) > PAGE else None)

    def shop(self) -> Shop:
        """Users from the one with most events to the one with fewest, evenly."""
        seen = pc.value_counts(self.snapshot.files["events"].batch.column("user_id").slice(0, SCANNED_EVENTS)).to_pylist()
        ids = [one["values"] for one in sorted(seen, key=lambda one: (-one["counts"], one["values"]))]
        chosen = dict.fromkeys(ids[at * (len(ids) - 1) // (NUM_USERS - 1)] for at in range(NUM_USERS) if ids)
        return Shop(users=tuple(map(self._user, chosen)), vocabulary=self.vocabulary)

    def _user(self, user_id: str) -> ShopUser:
        past = self.snapshot.behavior(user_id)
        lately = {kind: mention.title for kind, mention in past.mentions().items()}
        return ShopUser(user_id=user_id, num_events=past.num_events, lately=lately)


def _told(product: Product) -> str:
    return "\n".join((product.title, product.category, *(attribute.value for attribute in product.attributes))).lower()
