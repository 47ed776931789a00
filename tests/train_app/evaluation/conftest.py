"""A small sample shop: readers learn on what its people wrote, and are asked about products that they did not read of."""

import pytest

from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.packs.load import load_pack
from train_app.data.examples import examples
from train_app.data.split import Splits, split
from train_app.sample_shop.generate import generate_shop


@pytest.fixture(scope="session")
def shop_splits(tmp_path_factory) -> Splits:
    folder = tmp_path_factory.mktemp("shop")
    generate_shop(folder / "raw", seed=5, users=200, products=300, reasons=3000)
    build_snapshot(folder / "raw", out=folder / "snapshot")
    return split(examples(Snapshot.open(folder / "snapshot"), vocabulary=load_pack("shop").vocabulary))
