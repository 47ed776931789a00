"""The pack's facts as the simulated shop reads them: what it may sell. The shop adds prices and brands of its own (catalogue.yaml)."""

from functools import cache

from common.packs.load import load_pack
from common.packs.schema import ControlPack, FactPack, Pack


@cache
def _pack() -> Pack:
    return load_pack("shop")


def shop_facts() -> FactPack:
    return _pack().facts


def shop_controls() -> ControlPack:
    """How the pack measures codes: for reports only, the writer does not look at cues."""
    return _pack().controls
