"""Another user in the context changes what is said of the user, and nothing else: measured on one writer's texts, by the claims in them."""

import random
from collections.abc import Sequence

from common.domain.reason import Claim
from common.metrics.intervals import bootstrap, paired_difference
from train_app.data.examples import Example
from train_app.evaluation.evaluate import Subject
from train_app.evaluation.matcher import others, with_history
from train_app.evaluation.measures import Measures, proportion


def changes(subject: Subject, examples: Sequence[Example], *, num: int, seed: int = 0) -> Measures:
    """Samples for `num` requests of users with a history, each again for another user and, beside it, again for the same user.

    changes.product_kept: of a text's true claims about the product, those that stand in the other user's too; product_kept_again: in the
    same user's second text, since two draws differ anyway; product_shift: the first less the second, which is 0 where the user changes
    nothing but what is said of the user. changes.user_true: of the other user's text's claims about a user, those that are true of that
    user. changes.controls, changes.controls_shift: share that keeps its codes, and the same less the first texts'.
    Nothing with fewer than two such requests.
    """
    told = with_history(examples)[:num]
    if len(told) < 2:
        return {}
    contexts = [example.context for example in told]
    swapped = []
    for example in told:
        (other, *_) = [*others(example, examples, random.Random(f"changes/{seed}/{example.example_id}")), example.context.behavior]
        swapped.append(example.context.model_copy(update={"behavior": other}))
    texts = {}
    for name, asked, attempt in (("first", contexts, 0), ("again", contexts, 1), ("other", swapped, 0)):
        groups = subject.writer.write(asked, k=1, attempt=attempt)
        texts[name] = [
            subject.panel.checker.judge(group[0].text, context=context, score=None) for group, context in zip(groups, asked, strict=True)
        ]
    own = [_sources(verdict.claims, "product.") for verdict in texts["first"]]
    rows = [row for row, sources in enumerate(own) if sources]
    kept = {
        name: [len(own[row] & _sources(texts[name][row].claims, "product.")) / len(own[row]) for row in rows] for name in ("other", "again")
    }
    keeps = {name: [verdict.checks["controls"].passed for verdict in verdicts] for name, verdicts in texts.items()}
    said = [claim.supported for verdict in texts["other"] for claim in verdict.claims if _of_user(claim)]
    measures = {
        "changes.controls": proportion(keeps["other"]),
        "changes.controls_shift": paired_difference(keeps["other"], keeps["first"], seed=seed),
    }
    if rows:
        measures |= {
            "changes.product_kept": bootstrap(kept["other"], seed=seed),
            "changes.product_kept_again": bootstrap(kept["again"], seed=seed),
            "changes.product_shift": paired_difference(kept["other"], kept["again"], seed=seed),
        }
    return measures | ({"changes.user_true": proportion(said)} if said else {})


def _sources(claims: Sequence[Claim], prefix: str) -> set[str]:
    return {claim.source for claim in claims if claim.supported and claim.source and claim.source.startswith(prefix)}


def _of_user(claim: Claim) -> bool:
    return claim.kind == "history" or bool(claim.source and claim.source.startswith("user."))
