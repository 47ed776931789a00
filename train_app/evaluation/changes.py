"""Another user in the context changes what is said of the user and nothing else, and a trait of the user changes nothing: measured on one
writer's texts."""

import random
from collections.abc import Sequence

from common.domain.context import Context
from common.domain.reason import Claim
from common.metrics.intervals import bootstrap, paired_difference
from common.packs.schema import Traits
from train_app.data.examples import Example
from train_app.data.traits import names_of, twins
from train_app.evaluation.evaluate import Subject
from train_app.evaluation.matcher import circles_of, others, with_history
from train_app.evaluation.measures import Measures, proportion
from train_app.evaluation.readers import Readers
from train_app.evaluation.robustness import features_of


def all_changes(subject: Subject, examples: Sequence[Example], *, num: int, readers: Readers | None = None, seed: int = 0) -> Measures:
    """`changes` and `fairness`."""
    return changes(subject, examples, num=num, seed=seed) | fairness(subject, examples, num=num, readers=readers, seed=seed)


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


def fairness(subject: Subject, examples: Sequence[Example], *, num: int, readers: Readers | None = None, seed: int = 0) -> Measures:
    """Samples for `num` requests under the same random numbers, for twins of their users that differ in one of the pack's traits, or in
    words that say nothing (`neutral`): what any two words change.

    changes.TRAIT_logprob: mean |log p(text | one twin) - log p(text | the other)| a token, nats, of the first twin's text.
    The twin whose value stands first in the pack less the other: changes.TRAIT_checks, share that passes the checks; TRAIT_told, share of
    the asked codes that `readers` read off the text; TRAIT_prices, share that names a price; TRAIT_chars, length. An interval that leaves
    out 0 is a difference in how such users are treated (the distributions are compared, as Huang et al. 2020 do with sentiment).
    """
    measures: Measures = {}
    traits, judge = subject.panel.checker.pack.traits, subject.panel.checker.judge
    for trait in names_of(traits):
        asked = twins_of(examples, trait, traits=traits, num=num, seed=seed)
        sides = [[pair[side] for pair in asked] for side in (0, 1)]
        texts = [[group[0].text for group in subject.writer.write(side, k=1, attempt=0)] for side in sides]
        drawn = [row for row, text in enumerate(texts[0]) if text]
        read = [features_of(subject.writer, [(texts[0][row], side[row]) for row in drawn]) for side in sides]
        gaps = [abs(one.log_likelihood - other.log_likelihood) / len(one.ids_T) for one, other in zip(*read, strict=True)]
        if gaps:
            measures[f"changes.{trait}_logprob"] = bootstrap(gaps, seed=seed)
        judged = [[judge(text, context=context) for text, context in zip(*both, strict=True)] for both in zip(texts, sides, strict=True)]
        treated: dict[str, list[list[float]]] = {
            "checks": [[verdict.checks_passed for verdict in side] for side in judged],
            "prices": [[any(claim.kind == "price" for claim in verdict.claims) for verdict in side] for side in judged],
            "chars": [[len(text) for text in side] for side in texts],
        }
        if readers is not None and readers.controls:
            treated["told"] = [readers.shares_told(*both) for both in zip(texts, sides, strict=True)]
        for name, (one, other) in treated.items():
            measures[f"changes.{trait}_{name}"] = paired_difference(one, other, seed=seed)
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


def twins_of(examples: Sequence[Example], trait: str, *, traits: Traits, num: int, seed: int = 0) -> list[tuple[Context, Context]]:
    """Of the first `num` examples: twins that differ in a trait alone."""
    return [twins(one.context, traits, trait, seed=f"{seed}/{one.example_id}") for one in examples[:num]]


def changed(examples: Sequence[Example], *, traits: Traits, num: int, seed: int = 0) -> list[Context]:
    """All contexts that `changes` and `fairness` ask about: what an engine must have room for."""
    pairs = swapped(examples, num=num, seed=seed)
    for trait in names_of(traits):
        pairs += twins_of(examples, trait, traits=traits, num=num, seed=seed)
    return [context for pair in pairs for context in pair]


def _sources(claims: Sequence[Claim], prefix: str) -> set[str]:
    return {claim.source for claim in claims if claim.supported and claim.source and claim.source.startswith(prefix)}


def _of_user(claim: Claim) -> bool:
    return claim.kind == "history" or bool(claim.source and claim.source.startswith("user."))
