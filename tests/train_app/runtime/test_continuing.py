"""Going on from a bundle: with its adapter, on its base, with its old texts among the new ones."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load_file

from common.bundle.load import load_bundle
from common.bundle.manifest import ADAPTER_WEIGHTS
from common.errors import BadInput, ConfigError
from common.features.snapshot_build import build_snapshot
from common.language.base_model import load_base
from common.packs.load import load_pack
from train_app.config import ContinueConfig, TrainConfig
from train_app.data.split import combination
from train_app.runtime import continuing
from train_app.runtime.continuing import admitted, begun_with, regenerated, stored, writes_again
from train_app.runtime.estimate import Rates, estimate
from train_app.runtime.loop import public_config
from train_app.runtime.run import run_digest, run_inputs
from train_app.runtime.setting_up import open_workbench, read_splits
from train_app.stages.parallel import Parallel

PACK = load_pack("shop")


def quiet(told) -> None:
    pass


BUNDLE = Path(str(files("common.starter").joinpath("bundle")))
"""The starter bundle: a tiny random base learns no sentence that passes a verdict."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory, tiny_shop_in):
    """A run on a new snapshot, whose catalogue is the old one's and whose reasons are a part of its; and the folder of both."""
    folder = tmp_path_factory.mktemp("continuing")
    config = tiny_shop_in(folder)
    raw = folder / "new"
    shutil.copytree(folder / "raw", raw)
    reasons = [orjson.loads(line) for line in (raw / "reasons.jsonl").read_bytes().splitlines()]
    kept = [row for row in reasons if row["product_id"].startswith("more")]
    (raw / "reasons.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in kept))
    build_snapshot(raw, out=folder / "new snapshot")
    data = config.data.model_copy(update={"snapshot": str(folder / "new snapshot")})
    base = config.base.model_copy(update={"source": "starter"})
    decoding = config.decoding.model_copy(update={"max_new_tokens": 48})
    continued = ContinueConfig(bundle=str(BUNDLE), share=0.2)
    return config.model_copy(update={"data": data, "base": base, "decoding": decoding, "continued": continued}), folder


@pytest.fixture(scope="module")
def going_on(shop) -> TrainConfig:
    return shop[0]


@pytest.fixture(scope="module")
def old_snapshot(shop) -> str:
    return str(shop[1] / "snapshot")


def with_(config: TrainConfig, section: str, **fields: object) -> TrainConfig:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=fields)})


def test_sft_begins_with_the_bundles_adapter(going_on) -> None:
    bench = open_workbench(going_on, inputs="1" * 64, parallel=Parallel())
    saved = load_file(BUNDLE / ADAPTER_WEIGHTS)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in bench.policy.exported(bench.policy.adapter()).items())
    assert any(tensor.abs().max() > 0 for name, tensor in saved.items() if "lora_B" in name)
    merged = load_bundle(BUNDLE, base=load_base(going_on.base.source)).language.model.state_dict()
    assert all(torch.allclose(tensor, merged[name], atol=1e-6) for name, tensor in bench.policy.merged.model.state_dict().items())


@pytest.mark.parametrize(
    ("section", "fields", "named"),
    [
        (
            "lora",
            {"rank": 8},
            r"lora\.rank: got 8; bundle lb-\w+ goes on with its own adapter: set adapter=lora lora\.rank=16 lora\.alpha=32",
        ),
        ("lora", {"alpha": 8}, r"lora\.alpha: got 8"),
        ("base", {"source": "tiny"}, r"base\.source: got \S+base with digest \w+; bundle lb-\w+ was trained on starter"),
        ("data", {"pack": "kobe"}, r"data\.pack: the controls of kobe have digest"),
    ],
)
def test_what_does_not_fit_the_bundle_is_refused_by_name(section, fields, named, going_on, shop) -> None:
    fields = {"source": str(shop[1] / "base")} if fields == {"source": "tiny"} else fields
    with pytest.raises(ConfigError, match=named):
        admitted(with_(going_on, section, **fields))


def test_another_kind_of_adapter_is_refused(going_on) -> None:
    with pytest.raises(ConfigError, match="adapter: got bottleneck"):
        admitted(going_on.model_copy(update={"adapter": "bottleneck"}))
    with pytest.raises(ValueError, match="no bundle to go on from"):
        ContinueConfig(snapshot="somewhere")


def test_the_old_snapshots_rows_are_rehearsed_where_it_is_at_hand(going_on, old_snapshot) -> None:
    before = with_(going_on, "continued", snapshot=old_snapshot)
    new = read_splits(with_(before, "continued", share=0.0), vocabulary=PACK.vocabulary)
    both = read_splits(before, vocabulary=PACK.vocabulary)
    assert len(both.train) - len(new.train) == round(len(new.train) * 0.25)
    assert any(not one.product_id.startswith("more") for one in both.train)
    assert both.test == new.test
    assert not writes_again(before)


@pytest.fixture(scope="module")
def written(going_on, tmp_path_factory):
    """The new rows, and what the bundle wrote beside them, kept at a place."""
    place, told = str(tmp_path_factory.mktemp("run")), []
    seen = []

    def write(new):
        seen.append(new)
        return regenerated(going_on, new, told.append, place=place, parallel=Parallel())

    splits = read_splits(going_on, vocabulary=PACK.vocabulary, old=write)
    return place, seen[0], splits, told


def test_else_the_bundle_writes_about_products_without_a_reason_what_passes_its_verdict(written, going_on) -> None:
    place, new, splits, told = written
    rows = stored(place)
    assert rows
    assert not {row.product_id for row in rows} & {one.product_id for one in (*new.train, *new.test)}
    assert not any(row.product_id.startswith("more") for row in rows)
    assert not {combination(row.labels) for row in rows} & new.held_out
    subject = continuing.subject_of_bundle(load_bundle(BUNDLE, base=going_on.base.source), [row.context for row in rows])
    assert all(subject.panel.checker.judge(row.text, context=row.context, score=None).checks_passed for row in rows)
    ids = {row.example_id for row in rows}
    assert 0 < sum(one.example_id in ids for one in splits.train) <= round(0.25 * len(new.train))
    assert not any(one.example_id in ids for one in splits.discriminator)
    assert told[-1].stage == "rehearsal"
    assert told[-1].step == len(rows)


def test_a_run_that_goes_on_reads_what_was_written(written, going_on, monkeypatch) -> None:
    place, new, _, _ = written
    monkeypatch.setattr(continuing, "_write", lambda *given: pytest.fail("it was written already"))
    assert regenerated(going_on, new, quiet, place=place, parallel=Parallel()) == stored(place)


def test_a_shop_in_which_every_product_has_a_reason_wants_the_old_snapshot(going_on, old_snapshot, tmp_path) -> None:
    full = with_(going_on, "data", snapshot=old_snapshot)
    new = read_splits(with_(full, "continued", share=0.0), vocabulary=PACK.vocabulary)
    with pytest.raises(BadInput, match=r"continued\.snapshot: not given"):
        regenerated(full, new, quiet, place=str(tmp_path), parallel=Parallel())


def test_a_plan_counts_the_texts_that_are_yet_to_be_written(going_on) -> None:
    found = estimate(going_on, rates=Rates(trained=1, read=1, written=1, fitted=1))
    new = read_splits(with_(going_on, "continued", share=0.0), vocabulary=PACK.vocabulary)
    assert found.rows == len(new.train) + round(0.25 * len(new.train))


def test_the_name_of_a_run_knows_the_bundle_and_not_where_it_lies(going_on, old_snapshot, tmp_path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(BUNDLE, moved)
    name = run_inputs(going_on)
    assert run_inputs(with_(going_on, "continued", bundle=str(moved))) == name
    assert run_inputs(with_(going_on, "continued", share=0.5)) != name
    assert run_inputs(with_(going_on, "continued", snapshot=old_snapshot)) != name
    alone = with_(going_on, "continued", bundle=None)
    read = {"data_digest": "d", "base_digest": "b", "pack_digest": "p"}
    assert run_digest(alone, **read) == run_digest(with_(alone, "continued", share=0.5), **read), "a share of nothing"
    told = public_config(going_on, pack="shop")["continued"]
    assert told == {"share": 0.2, **begun_with(going_on)}
    assert told["rehearsal"] == "written again"
    assert str(BUNDLE) not in json.dumps(told)
    assert "continued" not in public_config(alone, pack="shop")
