"""The pack's facts as the simulated shop reads them: what it may sell. The shop adds prices and brands of its own (catalogue.yaml)."""

from functools import cache
from pathlib import Path

import common.packs
from common.config import parse, read_yaml
from common.packs.schema import FactPack


@cache
def shop_facts() -> FactPack:
    """facts.yaml alone: the simulator needs no lexicon and no templates."""
    path = Path(next(iter(common.packs.__path__))) / "shop" / "facts.yaml"
    return parse(read_yaml(path), FactPack, source=str(path))
