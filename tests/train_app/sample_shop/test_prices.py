from decimal import Decimal

import pytest

from train_app.sample_shop.grammar.prices import fitting_amounts, holds, numeral, read_amount


@pytest.mark.parametrize(("n", "said"), [(20, "二十"), (15, "十五"), (200, "两百"), (350, "三百五"), (1000, "一千"), (1500, "一千五")])
def test_round_amounts_are_said_as_people_say_them(n, said):
    assert numeral(n) == said


@pytest.mark.parametrize("price", [Decimal(n) for n in (15, 28, 59, 99, 119, 199, 258, 329, 499, 998, 1299, 2199)])
def test_every_way_to_say_a_price_is_true_and_can_be_read_back(price):
    amounts = fitting_amounts(price)
    assert len(amounts) >= 2
    for amount in amounts:
        read = read_amount(amount.write())
        assert read is not None
        assert holds(*read, price)


def test_a_price_is_not_said_as_an_insult():
    assert not any("两百五" in amount.write() for amount in fitting_amounts(Decimal(258)))


def test_what_is_no_price_is_not_read():
    assert read_amount("三百出头的") is None
