"""The classes of prices and ratings that words depend on: keys of `audience`, `concession` and `reputation` in relations.yaml."""

from decimal import Decimal

LOW_BELOW_YUAN, HIGH_FROM_YUAN = 100, 400
TOP_FROM, GOOD_FROM = 4.7, 4.3


def price_class(price_yuan: Decimal) -> str:
    return "low" if price_yuan < LOW_BELOW_YUAN else "middle" if price_yuan < HIGH_FROM_YUAN else "high"


def rating_class(rating: float) -> str:
    return "top" if rating >= TOP_FROM else "good" if rating >= GOOD_FROM else "fair"
