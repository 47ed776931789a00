"""Independent readers of a text: whose it is and which codes it shows. They learn on people's reasons of the evaluator's and the training
rows, know nothing of generator, discriminator and verdict, and are read beside their own success on people's texts of test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from train_app.data.examples import Example
from train_app.data.label_classifier import LabelClassifier, Ngrams, taught
from train_app.data.split import Splits
from train_app.evaluation.matcher import Matcher, fit_matcher, of_matched
from train_app.evaluation.measures import Measures, proportion

MOST = 4000
"""Rows that they learn from, the evaluator's first. Of the sample shop's emotion 289 rows make a ceiling of .69, 3,195 one of 1.00."""
FEWEST_GROUPS = 5


@dataclass(frozen=True, slots=True)
class Readers:
    ngrams: Ngrams | None
    controls: Mapping[str, LabelClassifier]
    matcher: Matcher | None

    def measures(self, prefix: str, texts: Sequence[str], examples: Sequence[Example]) -> Measures:
        """PREFIX.told_CONTROL: share whose asked code is the one that is read off the text; PREFIX.matched. Of what nobody could be taught
        to read there is nothing."""
        found: Measures = {}
        contexts = [example.context for example in examples]
        for control, rights in self._rights(texts, contexts).items():
            if told := [right for right in rights if right is not None]:
                found[f"{prefix}.told_{control}"] = proportion(told)
        return found | (of_matched(prefix, self.matcher, texts, examples) if self.matcher else {})

    def shares_told(self, texts: Sequence[str], contexts: Sequence[Context]) -> list[float]:
        """Of each text: the share of the asked codes that are read off it; 1 where none is asked."""
        rows = zip(*self._rights(texts, contexts).values(), strict=True)
        shares = [[right for right in row if right is not None] for row in rows]
        return [sum(row) / len(row) if row else 1.0 for row in shares]

    def _rights(self, texts: Sequence[str], contexts: Sequence[Context]) -> dict[str, list[bool | None]]:
        """Control -> text by text whether its asked code is read off it; None where none is asked."""
        if self.ngrams is None:
            return {}
        features = self.ngrams.of(texts)
        values = {control: classifier.values_of(features) for control, classifier in self.controls.items()}
        asked = {control: [context.controls.get(control) for context in contexts] for control in values}
        return {
            control: [None if code is None else code == value for code, value in zip(asked[control], read, strict=True)]
            for control, read in values.items()
        }


def fit_readers(splits: Splits, *, vocabulary: ControlVocabulary, seed: int = 0) -> Readers:
    """A control is read where each of at least two values has labelled rows of FEWEST_GROUPS groups."""
    examples = [example for example in (*splits.evaluator, *splits.train) if example.by_people][:MOST]
    if not examples:
        return Readers(None, {}, None)
    ngrams = Ngrams([example.text for example in examples])
    controls = {}
    for control in vocabulary.controls:
        labelled = [example for example in examples if control.name in example.given]
        groups: dict[str, set[str]] = {}
        for example in labelled:
            groups.setdefault(example.given[control.name], set()).add(example.group)
        told = [example for example in labelled if len(groups[example.given[control.name]]) >= FEWEST_GROUPS]
        labels = [example.given[control.name] for example in told]
        if len(set(labels)) > 1:
            controls[control.name] = taught(ngrams.of([example.text for example in told]), labels)
    return Readers(ngrams, controls, fit_matcher(examples, seed=seed))
