"""A whole study on the tiny shop: three arms of one seed from one SFT, kept, and not made twice."""

import pytest

from cluster.commands.study import tell
from cluster.session import connect
from common.errors import ConfigError
from train_app.runtime.tracking import read_story
from train_app.study.figures import SeedResult
from train_app.study.run import study


@pytest.mark.ray
@pytest.mark.filterwarnings("default")  # Ray's own workers and plasma sockets warn on their way out
def test_arms_share_a_start_are_measured_and_a_seed_that_is_kept_is_not_made_again(tiny, tiny_shop, tmp_path, capsys) -> None:
    train = tiny_shop.model_copy(update={"adversarial": tiny_shop.adversarial.model_copy(update={"rounds": 0})})
    config = tiny(train=train.model_dump(mode="json"), seeds=[1])
    results, seen = tmp_path / "results", []
    with connect(num_cpus=2, dashboard=True):
        summary = study(config, results=results, tell=lambda who, progress: seen.append((who, progress.stage)), commit="abc")
        made = len(seen)
        assert study(config, results=results, tell=lambda who, progress: seen.append((who, progress.stage))) == summary
        assert len(seen) == made
        other = tiny(train=train.model_dump(mode="json"), seeds=[1], prompts=3)
        with pytest.raises(ConfigError, match=r"seed-1.json: study .* made by another configuration"):
            study(other, results=results, tell=lambda who, progress: None)
    kept = SeedResult.model_validate_json((results / "seed-1.json").read_bytes())
    assert (kept.commit, list(kept.arms)) == ("abc", ["A", "V", "F"])
    assert {who for who, stage in seen if stage == "sft"} == {"start"}
    assert {who for who, stage in seen if stage == "filtering 1 samples"} == {"drawn"}, "F and V choose among the same samples"
    runs = {one.run for one in kept.arms.values()}
    assert len(runs) == 3
    for run in runs:
        assert not [one for one in read_story(f"{config.train.out}/runs/{run}") if one.stage == "sft"]
    assert kept.arms["F"].core_seconds["filtering 1"] > 0
    assert kept.arms["F"].core_seconds["drawn filtering 1 samples"] == kept.arms["V"].core_seconds["drawn filtering 1 samples"] > 0
    assert "drawn filtering 1 samples" not in kept.arms["A"].core_seconds
    assert kept.arms["F"].discriminator
    assert "<svg" in (results / "report.html").read_text()
    tell(config, summary)
    assert "gain       F over A:" in capsys.readouterr().out
