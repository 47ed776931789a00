"""What of a training is measured in its arm's name."""

import torch

from train_app.stages.state import State
from train_app.study.unit import trained


def test_an_arm_is_its_last_round_whatever_selection_ships() -> None:
    policies = {name: {"a": torch.full((1,), value)} for name, value in (("sft", 0.0), ("filtering 1", 1.0), ("filtering 2", 2.0))}
    shipped = State("run").with_group("policy", policies["sft"])
    assert trained(shipped).group("policy")["a"] == 0
    for name, policy in policies.items():
        shipped = shipped.with_group(f"candidate {name}", policy)
    state = shipped.with_values({"successes": {name: [True] for name in policies}, "selected": "sft"})
    assert trained(state).group("policy")["a"] == 2
