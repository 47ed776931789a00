"""`make study-null`, its end: what of F's success is the discriminator's. F of `shop` against F of `permuted`, the same seeds and prompts.

Both rank by the sample's own log-likelihood plus the logit; only one's logits have learnt which texts are real. What F gains over A' for
other reasons, the checks and the likelihood, is in both. Writes docs/results/null.json.
"""

import json
from pathlib import Path

import numpy as np

from cluster.commands.study import read_study
from common.errors import BadInput, LiyouError
from common.metrics.comparison import Difference, hierarchical_difference
from train_app.study.figures import CHOSEN, DECODED, SAMPLED, SeedResult
from train_app.study.run import kept_seeds

RESULTS = Path("docs/results")
FOLDERS = {"shop": "study", "permuted": "permuted"}


def main() -> None:
    studies = {name: read_study(name, []) for name in FOLDERS}
    seeds = {name: {one.seed: one for one in kept_seeds(config, RESULTS / FOLDERS[name])} for name, config in studies.items()}
    told = {"command": "make study-null", **compared(seeds["shop"], seeds["permuted"], method=studies["shop"].method)}
    (RESULTS / "null.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


def compared(seeing: dict[int, SeedResult], blind: dict[int, SeedResult], *, method: str) -> dict[str, object]:
    """How texts were taken -> outcome -> the method's share with a discriminator that sees, minus that with one that is blind.

    Raises BadInput where no seed is in both.
    """
    seeds = sorted(seeing.keys() & blind.keys())
    if not seeds:
        raise BadInput(f"no seed is in both studies: got {sorted(seeing)} and {sorted(blind)}; run `make study` and `liyou study permuted`")
    pairs = [(seeing[seed].arms[method].texts, blind[seed].arms[method].texts) for seed in seeds]
    differences: dict[str, dict[str, Difference]] = {}
    for taken in (SAMPLED, DECODED, CHOSEN):
        for outcome in ("success", "judge_clean"):
            ours, theirs = (np.array([pair[side][taken].outcomes[outcome].array for pair in pairs], float) for side in (0, 1))
            differences.setdefault(taken, {})[outcome] = hierarchical_difference(ours, theirs)
    return {
        "seeds": seeds,
        "commits": {"shop": [seeing[seed].commit for seed in seeds], "permuted": [blind[seed].commit for seed in seeds]},
        "seeing_minus_blind": {taken: {name: one.model_dump() for name, one in row.items()} for taken, row in differences.items()},
    }


if __name__ == "__main__":
    try:
        main()
    except LiyouError as error:
        raise SystemExit(f"null_study: {error.code}: {error}") from error
