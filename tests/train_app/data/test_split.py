import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.domain.context import Context
from common.domain.product import Product
from common.errors import BadRow
from train_app.data.examples import Example
from train_app.data.split import FRACTIONS, Splits, combination, split

CODES = [
    dict(zip(("topic", "emotion", "style"), values, strict=True))
    for values in itertools.product(("quality", "value", "look", "use"), ("warm", "calm", "excited"), ("concise", "detailed"))
]


def example(number: int, product: str, labels: dict[str, str], **provenance: str) -> Example:
    context = Context(product=Product(product_id=product, title="耳机", category="耳机"), controls=labels)
    return Example(example_id=f"x{number}", context=context, text="好", labels=labels, product_id=product, provenance=provenance)


def shop(rows: int = 4000, products: int = 1000) -> list[Example]:
    rng = random.Random(1)
    return [example(n, f"p{rng.randrange(products)}", rng.choice(CODES)) for n in range(rows)]


def parts(splits: Splits) -> dict[str, list[Example]]:
    return {purpose: getattr(splits, purpose) for purpose in FRACTIONS}


def test_no_product_serves_two_purposes() -> None:
    owners: dict[str, set[str]] = {}
    for purpose, rows in parts(split(shop())).items():
        for row in rows:
            owners.setdefault(row.product_id, set()).add(purpose)
    assert all(len(purposes) == 1 for purposes in owners.values())


def test_each_purpose_has_about_its_share_of_the_groups() -> None:
    splits = split(shop(), held_out=0)
    for purpose, rows in parts(splits).items():
        assert len(rows) / 4000 == pytest.approx(FRACTIONS[purpose], abs=0.03)
    assert sum(FRACTIONS.values()) == pytest.approx(1)


def test_a_third_of_the_combinations_stands_in_test_only_and_what_that_costs_is_counted() -> None:
    splits = split(shop())
    assert len(splits.held_out) == 8
    outside = {combination(row.labels) for purpose, rows in parts(splits).items() if purpose != "test" for row in rows}
    assert not outside & splits.held_out
    assert splits.held_out <= {combination(row.labels) for row in splits.test}
    assert sum(len(rows) for rows in parts(splits).values()) + splits.left_out.total() == 4000
    assert splits.left_out["test"] == 0


def test_every_single_code_is_still_trained_on() -> None:
    trained = {code for row in split(shop()).train for code in row.labels.items()}
    assert trained == {code for codes in CODES for code in codes.items()}


def test_few_combinations_are_not_held_out() -> None:
    rows = [example(n, f"p{n}", {"style": style}) for n, style in enumerate(["concise", "detailed"] * 50)]
    assert not split(rows).held_out


def test_a_hint_makes_its_group_the_test_and_nothing_else() -> None:
    rows = [example(n, f"p{n // 2}", CODES[n % 24], **({"split": "test"} if n % 10 == 0 else {})) for n in range(400)]
    splits = split(rows)
    hinted = {row.product_id for row in rows if row.provenance}
    assert {row.product_id for row in splits.test} == hinted
    assert len(splits.test) == 2 * len(hinted)


def test_combinations_that_only_hinted_rows_have_are_the_held_out_ones() -> None:
    rows = [example(n, f"p{n}", CODES[n % 16]) for n in range(200)]
    rows += [example(1000 + n, f"t{n}", CODES[n % 24], split="test") for n in range(48)]
    splits = split(rows)
    assert splits.held_out == {combination(codes) for codes in CODES[16:]}
    assert splits.left_out.total() == 0


def test_rows_that_the_shop_calls_train_serve_every_purpose_but_the_test() -> None:
    rows = [example(n, f"p{n}", {}, split="test" if n % 6 == 0 else "train") for n in range(600)]
    splits = split(rows)
    assert {row.provenance["split"] for row in splits.test} == {"test"}
    assert all(len(own) > 10 for own in parts(splits).values())


def test_any_purpose_can_be_hinted_and_belongs_to_the_hinted_rows_alone() -> None:
    rows = [example(n, f"p{n}", {}, **({"split": "validation"} if n % 7 == 0 else {})) for n in range(300)]
    splits = split(rows)
    assert {row.example_id for row in splits.validation} == {row.example_id for row in rows if row.provenance}
    assert splits.test
    with pytest.raises(BadRow, match=r"got 'dev'; expected one of train"):
        split([example(1, "p1", {}, split="dev")])


def test_a_given_group_keeps_rows_of_different_products_together() -> None:
    rows = [example(n, f"p{n}", {}, group=f"g{n % 40}") for n in range(400)]
    for purpose, own in parts(split(rows)).items():
        others = {row.group for other, rest in parts(split(rows)).items() if other != purpose for row in rest}
        assert not others & {row.group for row in own}


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_decides_nothing(rng: random.Random) -> None:
    rows = shop(200, 60)
    shuffled = list(rows)
    rng.shuffle(shuffled)
    one, two = split(rows), split(shuffled)
    assert one.held_out == two.held_out
    for purpose in FRACTIONS:
        assert {row.example_id for row in getattr(one, purpose)} == {row.example_id for row in getattr(two, purpose)}


def test_another_salt_divides_otherwise() -> None:
    assert [row.example_id for row in split(shop()).test] != [row.example_id for row in split(shop(), salt="two").test]
