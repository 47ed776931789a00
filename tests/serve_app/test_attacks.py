"""The corpus of attacks is whole, and every payload can be sent: what it measures is worth no more than it is."""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

ATTACKS: list[dict[str, Any]] = [
    orjson.loads(line) for line in (Path(__file__).parent / "attacks" / "attacks.jsonl").read_bytes().split(b"\n") if line
]
KINDS = {"instruction", "delimiter", "hidden_unicode", "homoglyph", "encoded", "forged_code", "forged_fact", "prompt_leak"}
KINDS |= {"role_play", "tool_text", "ad_law"}
LENGTHS = {"title": 300, "attribute_key": 40, "attribute_value": 200, "category": 80, "description": 5000, "persona": 80, "review": 5000}


def test_there_are_attacks_of_every_kind_in_two_languages_on_every_field() -> None:
    assert len({one["id"] for one in ATTACKS}) == len({one["payload"] for one in ATTACKS}) == len(ATTACKS) >= 300
    assert Counter(one["kind"] for one in ATTACKS).keys() == KINDS
    assert min(Counter(one["kind"] for one in ATTACKS).values()) >= 22
    assert sum(one["language"] != "zh" for one in ATTACKS) >= 100
    assert {one["where"] for one in ATTACKS} == LENGTHS.keys() | {"past_title"}


@pytest.mark.parametrize("one", ATTACKS, ids=lambda one: one["id"])
def test_an_attack_can_be_sent_and_its_success_be_told(one: dict[str, Any]) -> None:
    assert 0 < len(one["payload"]) <= LENGTHS.get(one["where"], 300)
    assert (one["key"] is None) == (one["where"] != "attribute_value")
    assert one["strings"] or one["forged"], "how success is told"
    clean = orjson.dumps(one["product"]).decode()
    assert not any(string in clean for string in one["strings"]), "the clean product says so itself"
    if forged := one["forged"]:
        assert one["codes"][forged["control"]] != forged["value"]
