import pytest
import yaml

from common.config import parse
from train_app.study.config import StudyConfig

TINY = yaml.safe_load("""
name: tiny
train: {data: {snapshot: unused}, out: unused, adversarial: {rounds: 0}, filtering: {rounds: 1, prompts_per_round: 8, samples: 2}}
seeds: [1, 2]
prompts: 4
best_of: 2
best_of_prompts: 2
search_prompts: 4
decodings: [{max_new_tokens: 16}, {max_new_tokens: 16, temperature: 0.5}]
baselines: [A]
control: null
verifier: V
rounds: 200
bars: [{arm: reference, figure: success, low: 0.5}, {arm: A, figure: sampled.success, low: 0.4, high: 0.7}]
arms:
  A: {title: SFT, changes: {filtering: {rounds: 0}}}
  V: {title: checks alone, changes: {filtering: {select_by: first}}}
  F: {title: the method}
""")


@pytest.fixture(scope="session")
def tiny():
    """The smallest study, with some of its fields otherwise."""

    def make(**changes) -> StudyConfig:
        return parse({**TINY, **changes}, StudyConfig, source="test")

    make.content = TINY
    return make
