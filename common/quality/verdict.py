"""The one verdict on a text against its own context, for training, evaluation and serving alike. A discriminator's score is an argument."""

from functools import lru_cache

from common.domain.context import Context
from common.domain.controls import Controls
from common.domain.product import Product
from common.domain.reason import QualityVerdict
from common.packs.schema import Pack
from common.quality.compliance import Law
from common.quality.constraints import check_constraints
from common.quality.control_check import ControlMeter
from common.quality.facts import FactFinder, check_facts
from common.quality.repetition import check_repetition
from common.quality.well_formed import check_language, check_length

PIECES = 8192
"""Pieces of text of which a checker remembers what they show and whether they are lawful; about 2 MB."""


class Checker:
    """A pack's checks, compiled once. `threshold` is the score in [0, 1] from which a text that passes all checks is accepted."""

    def __init__(self, pack: Pack, *, threshold: float = 0.0) -> None:
        self.pack = pack
        self.threshold = threshold
        self._facts = FactFinder(pack.facts, knowledge=pack.knowledge)
        self._controls = ControlMeter(pack.controls)
        self._law = Law(pack.lexicon, warnings=pack.knowledge.warnings)
        # Templates ask the same of the same pieces of text, page after page.
        self._measured = lru_cache(maxsize=PIECES)(self._controls.measured)
        self._lawful = lru_cache(maxsize=PIECES)(self._law.lawful)

    def judge(self, text: str, *, context: Context, score: float | None = None) -> QualityVerdict:
        """All checks are made, also after one has failed: a person wants to see them all."""
        product = context.product
        claims = self._facts.find(text, context=context)
        quotable = (product.title, product.category, product.brand or "")
        results = (
            check_facts(claims),
            self._controls.check(text, controls=context.controls),
            self._law.check(text, parents=self.pack.parents(product.category)),
            check_length(text, form=self.pack.controls.form),
            check_language(text, form=self.pack.controls.form),
            check_repetition(text, quotable=quotable),
            *check_constraints(text, context.constraints),
        )
        passed = all(result.passed for result in results)
        return QualityVerdict(
            accepted=passed and (score is None or score >= self.threshold),
            score=score,
            checks={result.name: result for result in results},
            claims=claims,
            policy_version=self.pack.policy_version,
            met=self._facts.met(text, context=context, claims=claims),
        )

    def met(self, text: str, *, context: Context) -> tuple[str, ...]:
        """Of the context's wishes, those of which a piece of text speaks."""
        return self._facts.met(text, context=context)

    def wishes(self, query: str, product: Product) -> tuple[str, ...]:
        """As `FactFinder.wishes`."""
        return self._facts.wishes(query, product)

    def measured(self, text: str) -> Controls:
        """The codes that a text shows, whatever was asked."""
        return self._measured(text)

    def lawful(self, text: str, *, category: str) -> bool:
        """Whether a piece of text may stand in a reason as far as the lexicon goes; required warnings are a matter of the whole."""
        return self._lawful(text, parents=self.pack.parents(category))

    def warnings(self, category: str) -> tuple[str, ...]:
        """Sentences that the law wants in every reason about such goods."""
        return tuple(warning.text for warning in self._law.warnings(self.pack.parents(category)))


def judge(text: str, *, context: Context, pack: Pack, score: float | None, threshold: float) -> QualityVerdict:
    """One text; for many keep a `Checker`."""
    return Checker(pack, threshold=threshold).judge(text, context=context, score=score)
