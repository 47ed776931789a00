from collections import Counter
from dataclasses import replace

import pytest

from common.domain.context import Context
from common.domain.product import Product
from train_app.data.examples import Example
from train_app.data.rehearsal import MIXED, num_old, parted, rehearsed
from train_app.data.split import Splits, combination


def rows(prefix: str, num: int, *, style: str = "concise") -> list[Example]:
    made = []
    for number in range(num):
        product, labels = f"{prefix}{number}", {"style": style}
        context = Context(product=Product(product_id=product, title="耳机", category="耳机"), controls=labels)
        made.append(Example(example_id=product, context=context, text="好", labels=labels, product_id=product, provenance={}))
    return made


def shop(prefix: str, num: int, **more: object) -> Splits:
    return Splits(**{purpose: rows(f"{prefix} {purpose} ", num) for purpose in (*MIXED, "test")}, **more)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_old_rows_are_the_share_that_was_asked_for_in_every_part_but_the_test(share) -> None:
    new, old = shop("new", 70), shop("old", 200)
    both = rehearsed(new, old, share=share)
    for purpose in MIXED:
        kinds = Counter(one.example_id.split()[0] for one in getattr(both, purpose))
        assert kinds["new"] == 70, "no new row makes room"
        assert kinds["old"] / (70 + kinds["old"]) == pytest.approx(share, abs=0.01)
        assert {one.example_id.split()[1] for one in getattr(both, purpose)} == {purpose}, "no part learns from another's"
    assert both.test == new.test


def test_the_first_rows_of_a_part_hold_both_kinds_and_the_mix_is_the_same_every_time() -> None:
    new, old = shop("new", 70), shop("old", 70)
    both = rehearsed(new, old, share=0.3)
    assert {one.example_id.split()[0] for one in both.validation[:16]} == {"new", "old"}
    assert rehearsed(new, old, share=0.3) == both


def test_what_the_test_asks_about_is_not_rehearsed() -> None:
    new = replace(shop("new", 10), held_out=frozenset([combination({"style": "detailed"})]))
    old = Splits(train=[*new.test, *rows("held out ", 5, style="detailed"), *rows("fine ", 3), *new.train])
    both = rehearsed(new, old, share=0.5)
    assert {one.example_id for one in both.train} - {one.example_id for one in new.train} == {"fine 0", "fine 1", "fine 2"}


def test_few_old_rows_are_all_taken_and_none_twice() -> None:
    both = rehearsed(shop("new", 10), shop("old", 2), share=0.5)
    assert Counter(one.example_id for one in both.train).most_common(1)[0][1] == 1
    assert len(both.train) == 12


def test_what_a_bundle_wrote_is_never_shown_to_a_discriminator_as_real() -> None:
    parts = parted(rows("written ", 16))
    assert (len(parts.train), len(parts.validation), parts.discriminator, parts.calibration) == (14, 2, [], [])


def test_how_many_old_rows_make_a_share() -> None:
    assert [num_old(70, share=share) for share in (0.0, 0.3, 0.5)] == [0, 30, 70]
