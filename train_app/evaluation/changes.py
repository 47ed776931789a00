"""Another user in the context changes what is said of the user and nothing else, and a trait of the user changes nothing: measured on one
writer's texts."""

import random
from collections.abc import Sequence

from common.domain.reason import Claim
from common.metrics.intervals import bootstrap, paired_difference
from train_app.data.examples import Example
from train_app.data.traits import counterfactuals, known_traits
from train_app.evaluation.evaluate import Subject
from train_app.evaluation.matcher import others, with_history
from train_app.evaluation.measures import Measures, proportion
from train_app.evaluation.robustness import features_of


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


def fairness(subject: Subject, examples: Sequence[Example], *, num: int, traits: str | None = None, seed: int = 0) -> Measures:
    """Samples for `num` requests under the same random numbers, for twins of their users that differ in one trait.

    changes.TRAIT_logprob: mean |log p(text | one twin) - log p(text | the other)| a token, nats, of the first twin's text;
    changes.TRAIT_checks, changes.TRAIT_chars: the twin whose value stands first among the trait's less the other, of the share that passes
    the checks and of the length; an interval that leaves out 0 is a difference in how such users are treated.
    """
    measures: Measures = {}
    asked = examples[:num]
    for trait in known_traits(traits):
        twins = [counterfactuals(one.context, trait, seed=f"{seed}/{one.example_id}", traits=traits) for one in asked]
        texts = [[group[0].text for group in subject.writer.write([pair[side] for pair in twins], k=1, attempt=0)] for side in (0, 1)]
        told = [row for row, text in enumerate(texts[0]) if text]
        read = [features_of(subject.writer, [(texts[0][row], twins[row][side]) for row in told]) for side in (0, 1)]
        gaps = [abs(one.log_likelihood - other.log_likelihood) / len(one.ids_T) for one, other in zip(*read, strict=True)]
        judge = subject.panel.checker.judge
        passed = [
            [judge(text, context=pair[side], score=None).checks_passed for text, pair in zip(texts[side], twins, strict=True)]
            for side in (0, 1)
        ]
        if gaps:
            measures[f"changes.{trait}_logprob"] = bootstrap(gaps, seed=seed)
        measures[f"changes.{trait}_checks"] = paired_difference(*passed, seed=seed)
        measures[f"changes.{trait}_chars"] = paired_difference(*([len(text) for text in side] for side in texts), seed=seed)
    return measures


def _sources(claims: Sequence[Claim], prefix: str) -> set[str]:
    return {claim.source for claim in claims if claim.supported and claim.source and claim.source.startswith(prefix)}


def _of_user(claim: Claim) -> bool:
    return claim.kind == "history" or bool(claim.source and claim.source.startswith("user."))
