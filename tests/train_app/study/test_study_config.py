import shlex
from pathlib import Path

import pytest

from cluster.commands.study import presets, read_study
from common.errors import ConfigError
from train_app.study.unit import shared_drawings


def test_an_arm_is_the_training_with_its_changes_and_the_seed(tiny) -> None:
    arm = tiny().arm("V", seed=7)
    assert (arm.seed, arm.filtering.select_by, arm.filtering.samples) == (7, "first", 2)


def test_what_belongs_to_the_shared_start_cannot_differ_between_arms(tiny) -> None:
    arms = {**tiny.content["arms"], "V": {"title": "x", "changes": {"sft": {"learning_rate": 0.1}}}}
    with pytest.raises(ConfigError, match=r"arms.V.changes: sft belong to the start"):
        tiny(arms=arms)


def test_a_recipe_is_not_reported_on_the_seeds_it_was_chosen_by(tiny) -> None:
    with pytest.raises(ConfigError, match=r"seeds: \[2\] stand in searched_on"):
        tiny(searched_on=[2, 9])


def test_an_arm_that_is_compared_must_exist(tiny) -> None:
    with pytest.raises(ConfigError, match="'L' is compared and must be among them"):
        tiny(control="L")


def test_seeds_and_bars_can_be_added_to_a_study_and_its_recipe_cannot_change_unnoticed(tiny) -> None:
    assert tiny(seeds=[1, 2, 3], rounds=300).digest == tiny().digest
    assert tiny(prompts=5).digest != tiny().digest
    assert tiny(train={**tiny.content["train"], "out": "elsewhere"}).digest == tiny().digest


@pytest.mark.parametrize("name", presets())
def test_packaged_studies_hold_together(name: str) -> None:
    study = read_study(name, [])
    assert {arm: study.arm(arm, seed=study.seeds[0]).seed for arm in study.arms}
    assert not study.train.adversarial.rounds or "F" in study.arms


def test_a_study_like_another_has_all_that_it_does_not_name_itself(tmp_path: Path) -> None:
    shop, permuted = read_study("shop", []), read_study("permuted", [])
    assert permuted.train.discriminator.permuted_labels
    assert permuted.train.filtering == shop.train.filtering
    assert (permuted.decodings, permuted.prompts) == (shop.decodings, shop.prompts)
    assert all(permuted.arms[name].changes == shop.arms[name].changes for name in permuted.arms)
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nlike: permuted\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="like: expected a study that stands by itself"):
        read_study(str(file), [])


DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "study.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", [line.strip() for line in DOCUMENT.splitlines() if line.startswith("    liyou")])
def test_the_documented_commands_name_studies_that_are_there(line: str) -> None:
    program, command, name, *words = shlex.split(line)
    assert (program, command) == ("liyou", "study")
    overrides = [word for word in words if "=" in word]
    assert read_study(name, overrides).name == name


def test_the_document_tells_every_arm() -> None:
    table = DOCUMENT.partition("| arm of `shop` |")[2].partition("\n\n")[0]
    told = {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")}
    assert told == set(read_study("shop", []).arms)


def test_arms_that_choose_otherwise_share_a_drawing_that_trains_nothing_and_others_do_not(tiny) -> None:
    arms = {
        **tiny.content["arms"],
        "L": {"title": "by likelihood", "changes": {"filtering": {"select_by": "likelihood", "steps_per_round": 7}}},
        "more": {"title": "from more samples", "changes": {"filtering": {"samples": 3}}},
        "again": {"title": "more cross-entropy", "changes": {"filtering": {"generated_share": 0}}},
        "paid": {"title": "a changed generator", "changes": {"adversarial": {"rounds": 1}}},
    }
    [(train, names)] = shared_drawings(tiny(arms=arms), seed=1)
    assert names == ["V", "F", "L"]
    assert train.filtering.drawn_for == ("discriminator", "first", "likelihood")
    assert (train.adversarial.rounds, train.filtering.rounds, train.seed) == (0, 1, 1)
