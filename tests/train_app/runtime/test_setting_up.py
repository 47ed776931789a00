import json
from pathlib import Path

import pytest

from common.errors import BadInput, BadRow
from common.features.snapshot_build import build_snapshot
from common.packs.load import load_pack
from train_app.config import DataConfig
from train_app.data.traits import every_value
from train_app.runtime import setting_up
from train_app.runtime.setting_up import open_workbench, pack_digest, read_splits
from train_app.stages.parallel import Parallel


def test_every_reason_that_cannot_be_learnt_from_is_named_at_once(tiny_shop, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    tables = {
        "products": [{"product_id": "p1", "title": "一号耳机", "category": "耳机"}],
        "reasons": [
            {"product_id": "p1", "text": f"第{n}句", "labels": {"style": style}} for n, style in enumerate(("long", "concise", "??"))
        ],
    }
    for name, rows in tables.items():
        (tmp_path / "tables" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_snapshot(tmp_path / "tables", tmp_path / "built")
    config = tiny_shop.model_copy(update={"data": DataConfig(snapshot=str(tmp_path / "built"))})
    with pytest.raises(BadRow, match="2 annotated reasons cannot") as caught:
        read_splits(config, vocabulary=load_pack("shop").vocabulary)
    assert "product p1: controls.style: got 'long'" in str(caught.value)
    assert "got '??'" in str(caught.value)


@pytest.mark.parametrize("hardware", [True, False])
def test_bf16_is_used_where_the_processor_has_it(tiny_shop, monkeypatch, hardware: bool) -> None:
    monkeypatch.setattr(setting_up, "has_bf16", lambda device: hardware)
    for asked in (True, False):
        config = tiny_shop.model_copy(update={"runtime": tiny_shop.runtime.model_copy(update={"bf16": asked})})
        assert open_workbench(config, inputs="a" * 64, parallel=Parallel()).bf16 is (asked and hardware)


def test_layers_are_computed_again_and_rows_taken_in_parts_where_that_is_asked(tiny_shop) -> None:
    for asked in (True, False):
        changed = {"gradient_checkpointing": asked, "micro_batch": 3 if asked else None}
        config = tiny_shop.model_copy(update={"runtime": tiny_shop.runtime.model_copy(update=changed)})
        bench = open_workbench(config, inputs="a" * 64, parallel=Parallel())
        assert bench.policy.language.model.is_gradient_checkpointing is asked
        assert not bench.policy.merged.model.is_gradient_checkpointing, "what writes keeps its cache"
        assert bench.micro_batches([1, 2, 3, 4]) == ([[1, 2, 3], [4]] if asked else [[1, 2, 3, 4]])


def test_a_run_that_is_paid_for_fairness_hangs_on_the_packs_traits_and_no_other_run_does(tiny_shop, tmp_path) -> None:
    paid = tiny_shop.adversarial.model_copy(update={"weights": tiny_shop.adversarial.weights.model_copy(update={"fairness": 1.0})})

    def digests(traits: str) -> tuple[str, str]:
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / "pack.yaml").write_text("extends: shop")
        (tmp_path / "own" / "traits.yaml").write_text(traits, encoding="utf-8")
        config = tiny_shop.model_copy(update={"data": tiny_shop.data.model_copy(update={"pack": str(tmp_path / "own")})})
        return pack_digest(config), pack_digest(config.model_copy(update={"adversarial": paid}))

    (plain, told), (plain_too, other) = digests("traits: {gender: {a: [女], b: [男]}}"), digests("traits: {gender: {a: [女士], b: [先生]}}")
    assert plain == plain_too
    assert len({plain, told, other}) == 3


def test_fairness_without_traits_is_refused_and_the_engine_has_room_for_told_ones(tiny_shop, tmp_path) -> None:
    paid = tiny_shop.adversarial.model_copy(update={"weights": tiny_shop.adversarial.weights.model_copy(update={"fairness": 1.0})})
    config = tiny_shop.model_copy(update={"adversarial": paid})
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pack.yaml").write_text("extends: shop")
    (tmp_path / "own" / "traits.yaml").write_text("{}")
    bare = config.model_copy(update={"data": config.data.model_copy(update={"pack": str(tmp_path / "own")})})
    with pytest.raises(BadInput, match="own has no traits"):
        open_workbench(bare, inputs="a" * 64, parallel=Parallel())
    bench = open_workbench(config, inputs="a" * 64, parallel=Parallel())
    told = every_value((one.context for one in bench.splits.discriminator), bench.checker.pack.traits)
    bench.write(list(told), k=1, stage="room", step=0)
