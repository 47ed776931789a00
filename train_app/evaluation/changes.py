"""Another user in the context changes what is said of the user and nothing else, and a trait of the user changes nothing: measured on one
writer's texts."""

import random
from collections.abc import Sequence

from common.domain.context import Context
from common.domain.reason import Claim
from common.metrics.intervals import bootstrap, paired_difference
from train_app.data.examples import Example
from train_app.data.traits import counterfactuals, known_traits
from train_app.evaluation.evaluate import Subject
from train_app.evaluation.matcher import circles_of, others, with_history
from train_app.evaluation.measures import Measures, proportion
from train_app.evaluation.robustness import features_of


def changes(subject: Subject, examples: Sequence[Example], *, num: int, seed: int = 0) -> Measures:
    """Samples for `num` requests of users with a history, each again for another user and, beside it, again for the same user.

    changes.product_kept: of a text's true claims about the product, those that stand in the other user's too; product_kept_again: in the
    same user's second text, since two draws differ anyway; product_shift: the first less the second, which is 0 where the user changes
    nothing but what is said of the user. changes.user_true: of the other user's text's claims about a user, those that are true of that
    user. changes.controls, changes.controls_shift: share that keeps its codes, and the same less the first texts'.
    Nothing with fewer than two such requests. The writer's engine needs room for `changed`.
    """
    pairs = swapped(examples, num=num, seed=seed)
    if len(pairs) < 2:
        return {}
    contexts = [own for own, _ in pairs]
    texts = {}
    for name, asked, attempt in (("first", contexts, 0), ("again", contexts, 1), ("other", [other for _, other in pairs], 0)):
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
    for trait in known_traits(traits):
        twins = twins_of(examples, trait, num=num, traits=traits, seed=seed)
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


def swapped(examples: Sequence[Example], *, num: int, seed: int = 0) -> list[tuple[Context, Context]]:
    """Of the first `num` examples of users with a history that have another user beside them: their context, and the same product and codes
    for that user."""
    circles, pairs = circles_of(examples), list[tuple[Context, Context]]()
    for example in with_history(examples):
        rivals = others(example, circles, random.Random(f"changes/{seed}/{example.example_id}"))
        if rivals and len(pairs) < num:
            user = {"behavior": rivals[0].context.behavior, "persona": rivals[0].context.persona}
            pairs.append((example.context, example.context.model_copy(update=user)))
    return pairs


def twins_of(
    examples: Sequence[Example], trait: str, *, num: int, traits: str | None = None, seed: int = 0
) -> list[tuple[Context, Context]]:
    """Of the first `num` examples: twins that differ in a trait alone."""
    return [counterfactuals(one.context, trait, seed=f"{seed}/{one.example_id}", traits=traits) for one in examples[:num]]


def changed(examples: Sequence[Example], *, num: int, traits: str | None = None, seed: int = 0) -> list[Context]:
    """All contexts that `changes` and `fairness` ask about which are not the examples' own: what an engine must have room for."""
    pairs = swapped(examples, num=num, seed=seed)
    for trait in known_traits(traits):
        pairs += twins_of(examples, trait, num=num, traits=traits, seed=seed)
    return [context for pair in pairs for context in pair]


def _sources(claims: Sequence[Claim], prefix: str) -> set[str]:
    return {claim.source for claim in claims if claim.supported and claim.source and claim.source.startswith(prefix)}


def _of_user(claim: Claim) -> bool:
    return claim.kind == "history" or bool(claim.source and claim.source.startswith("user."))
