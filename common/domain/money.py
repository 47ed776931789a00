"""Amounts of money as integer minor units. The only place that converts from and to a currency's unit."""

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from pydantic import Field

from common.config import Frozen
from common.errors import BadInput

# ISO 4217 exponents that are not 2 and that shops meet.
EXPONENTS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "KWD": 3, "BHD": 3, "OMR": 3, "JOD": 3, "TND": 3}


MAX_MINOR = 2**53
"""Beyond it JSON readers, JavaScript's among them, round."""


class Money(Frozen):
    minor: int = Field(ge=0, le=MAX_MINOR, description="amount in the currency's smallest unit (fen, cent)")
    currency: str = Field("CNY", pattern=r"^[A-Z]{3}$", description="ISO 4217 code")

    def amount(self) -> Decimal:
        """The amount in the currency's unit, exactly."""
        return Decimal(self.minor).scaleb(-EXPONENTS.get(self.currency, 2))


def money(amount: float | int | str | Decimal, currency: str = "CNY") -> Money:
    """`amount` is in the currency's unit (299.0 yuan); halves of a minor unit round up. Raises BadInput."""
    try:
        exact = Decimal(str(amount))
    except InvalidOperation as error:
        raise BadInput(f"price: got {amount!r}; expected a number in the unit of {currency}, for example 299.0") from error
    if not exact.is_finite() or exact < 0:
        raise BadInput(f"price: got {amount!r}; expected a finite number of at least 0")
    places = EXPONENTS.get(currency, 2)
    if exact.adjusted() > len(str(MAX_MINOR)) or (scaled := exact.scaleb(places)) > MAX_MINOR:
        raise BadInput(f"price: got {amount!r}; expected an amount in the unit of {currency}, below {MAX_MINOR // 100}")
    return Money(minor=int(scaled.quantize(Decimal(1), rounding=ROUND_HALF_UP)), currency=currency)
