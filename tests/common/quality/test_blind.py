"""The blind sentences are whole: what they measure is worth no more than they are."""

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from common.contract.wire import RequestEvent, RequestProduct, RequestUser
from common.domain.context import Context
from common.features.summarize import shop_day, summarize
from common.packs.load import load_pack
from common.quality.compliance import Law
from common.quality.facts import FactFinder, check_facts

PACK = load_pack("shop")
BLIND = Path(__file__).parent / "blind"


def lines(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (BLIND / name).read_bytes().splitlines()]


def test_the_lexicons_sentences_hold_offences_evasions_and_lawful_neighbours() -> None:
    found = lines("lexicon.jsonl")
    assert len({one["id"] for one in found}) == len({one["text"] for one in found}) == len(found) >= 400
    counts = Counter(one["expected"] for one in found)
    assert counts.keys() == {"block", "review", "allow"}
    assert min(counts["block"], counts["allow"]) >= 200
    assert all((one["basis"] is None) == (one["expected"] == "allow") for one in found)
    evasions = Counter(one["evasion"] for one in found if one["expected"] != "allow")
    assert {"full_width", "zero_width", "traditional", "pinyin", "split", "homophone"} <= evasions.keys()
    assert {one["scope"] for one in found} == {"general", "medicine", "health_food", "cosmetics", "finance", "alcohol", "minors"}


def test_the_claims_stand_in_their_texts_and_know_nothing_of_the_future() -> None:
    found = lines("claims.jsonl")
    assert len({one["id"] for one in found}) == len(found) >= 300
    assert {one["label"] for one in found} == {"supported", "contradicted", "unsupported"}
    assert min(Counter(one["kind"] for one in found).values()) >= 20
    for one in found:
        assert one["claim"] in one["text"]
        assert all(datetime.fromisoformat(event["at"]) < datetime.fromisoformat(one["now"]) for event in one["events"])


def test_the_lexicon_keeps_what_it_reached_on_sentences_that_it_was_not_written_with() -> None:
    """Reached: precision .87, recall .77; asked for are .97 and .93. Each kind of goods is judged by its own law, as serving does."""
    law = Law(PACK.lexicon)
    found = Counter(
        (one["expected"] != "allow", any(True for _ in law.hits(one["text"], parents=PACK.parents(one["category"]))))
        for one in lines("lexicon.jsonl")
    )
    assert found[True, True] / (found[True, True] + found[False, True]) >= 0.86
    assert found[True, True] / (found[True, True] + found[True, False]) >= 0.76


ACCURACY_OF_FACTS = 0.82
"""Share of the blind claims that the check of facts decides rightly. The aim is .92."""


def product_of(row: dict[str, Any]) -> RequestProduct:
    attributes: dict[str, Any] = {}
    for attribute in row.get("attributes") or ():
        attributes.setdefault(attribute["key"], []).append(attribute["value"])
    if row.get("brand"):
        attributes.setdefault("品牌", row["brand"])
    told = {name: row.get(name) for name in ("price", "rating", "rating_count", "description")}
    return RequestProduct(product_id=row["product_id"], title=row["title"], category=row["category"], attributes=attributes, **told)


def context_of(one: dict[str, Any]) -> Context:
    """As serving makes it of a product and events that come with a request."""
    product, now = product_of(one["product"]).to_domain(), datetime.fromisoformat(one["now"])
    products = {row["product"]["product_id"]: product_of(row["product"]).to_domain() for row in one["events"]} | {
        product.product_id: product
    }
    events = tuple(
        RequestEvent(product_id=row["product"]["product_id"], **{name: row.get(name) for name in ("kind", "at", "rating", "text")})
        for row in one["events"]
    )
    user = RequestUser(user_id="u", events=events)
    return Context(product=product, behavior=summarize(user.to_domain(), at=now, products=products), on=shop_day(now))


def test_the_check_of_facts_decides_claims_that_it_was_not_written_for() -> None:
    pack = load_pack("shop")
    finder = FactFinder(pack.facts, knowledge=pack.knowledge)
    right = [
        check_facts(finder.find(one["text"], context=context_of(one))).passed == (one["label"] == "supported")
        for one in lines("claims.jsonl")
    ]
    assert sum(right) / len(right) >= ACCURACY_OF_FACTS, f"{sum(right)} of {len(right)}"
