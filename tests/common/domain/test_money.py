import pytest

from common.domain.money import MAX_MINOR, money
from common.errors import BadInput


def test_amounts_are_kept_in_the_smallest_unit() -> None:
    assert (money(299.0).minor, money("0.005").minor, money(300, "JPY").minor) == (29900, 1, 300)
    assert money(MAX_MINOR // 100).minor <= MAX_MINOR


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), "cheap", 1e30, "1e400", "1e1000000", 3 * 10**17])
def test_what_is_no_amount_is_refused_with_the_field(amount: object) -> None:
    with pytest.raises(BadInput, match="price: got"):
        money(amount)  # type: ignore[arg-type]
