"""A base that read other shops' reasons is a base like any other, and predicts reasons it did not read better."""

import json

import pytest

from cluster.cli import main
from common.errors import BadInput
from common.features.snapshot import Snapshot
from common.language.base_model import base_digest, load_base
from common.packs.load import load_pack
from train_app.pretraining.adapting import adapt_base, all_reasons
from train_app.pretraining.loop import PretrainingConfig

CONFIG = PretrainingConfig(row_len=256, batch_rows=2, learning_rate=5e-3, blocks_share=0.0)


def adapted(tiny_shop, out, *, config=CONFIG, steps=6):
    told = []
    vocabulary = load_pack("shop").vocabulary
    made = adapt_base(
        tiny_shop.base.source,
        all_reasons(Snapshot.open(tiny_shop.data.snapshot), vocabulary=vocabulary),
        out,
        vocabulary=vocabulary,
        config=config,
        steps=steps,
        seed=1,
        on_step=lambda step, loss, tokens: told.append(step),
    )
    return made, told


def test_held_out_reasons_become_likelier_and_every_weight_may_move(tiny_shop, tmp_path) -> None:
    made, told = adapted(tiny_shop, tmp_path / "adapted")
    assert made.after < 0.8 * made.before
    assert told == [1, 2, 3, 4, 5, 6]
    assert (made.num_held_out, made.num_too_long) == (17, 0)
    assert made.num_read + made.num_held_out == 176
    old, new = load_base(tiny_shop.base.source), load_base(str(tmp_path / "adapted"))
    moved = [not a.equal(b) for a, b in zip(old.model.parameters(), new.model.parameters(), strict=True)]
    assert all(moved)


def test_the_same_call_writes_the_same_bytes(tiny_shop, tmp_path) -> None:
    for name in ("one", "two"):
        adapted(tiny_shop, tmp_path / name, steps=2)
    assert base_digest(tmp_path / "one") == base_digest(tmp_path / "two")


def test_reasons_that_no_row_holds_are_counted_and_none_at_all_is_an_error(tiny_shop, tmp_path) -> None:
    with pytest.raises(BadInput, match="row_len 64"):
        adapted(tiny_shop, tmp_path / "adapted", config=CONFIG.model_copy(update={"row_len": 64}))
    assert not (tmp_path / "adapted").exists()


def test_the_command_says_what_it_read(tiny_shop, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["base", "adapt", tiny_shop.base.source, tiny_shop.data.snapshot, "--out", str(tmp_path / "out"), "--steps", "2"]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert caught.value.code in (0, None)
    assert told["num_read"] == 159
    assert told["snapshots"][0] in (tmp_path / "out" / "NOTICE.md").read_text()
    with pytest.raises(SystemExit) as caught:
        main([*words, "--json"])
    assert caught.value.code == 1
    assert "exists" in capsys.readouterr().err
