"""What of a training is measured in its arm's name."""

import torch

from train_app.stages.state import State
from train_app.study.unit import trained


def test_an_arm_is_its_last_round_whatever_selection_ships() -> None:
    policies = {name: {"a": torch.full((1,), value)} for name, value in (("sft", 0.0), ("filtering 1", 1.0), ("filtering 2", 2.0))}
    shipped = State("run").with_group("policy", policies["sft"])
    for name, policy in policies.items():
        shipped = shipped.with_group(f"candidate {name}", policy)
    for made, last in ((["sft"], "sft"), (list(policies), "filtering 2")):
        name, state = trained(shipped.with_values({"successes": {name: [True] for name in made}, "selected": "sft"}))
        assert name == last
        assert state.group("policy")["a"] == policies[last]["a"]
