"""What `liyou study` tells while it runs."""

import re

import pytest

from cluster.commands.study import live_lines
from train_app.stages.state import Progress


def test_without_a_terminal_every_stage_of_every_arm_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with live_lines() as (show, _):
        for stage, step in (("sft", 0), ("sft", 1), ("[test]", 0), ("[test]", 1)):
            for who in ("A", "F"):
                show(who, Progress(stage=stage, step=step, total=2))
    told = [re.sub(r"^\d\d:\d\d:\d\d +", "", line) for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert [" ".join(line.split()) for line in told] == [f"{who} {stage}, 2 steps" for stage in ("sft", "[test]") for who in ("A", "F")]
