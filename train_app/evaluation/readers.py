"""Independent readers of a text: whose it is and which codes it shows, learnt on people's reasons that nothing else learns from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.domain.controls import ControlVocabulary
from train_app.data.examples import Example
from train_app.data.label_classifier import FOLDS, LabelClassifier, Ngrams, self_train
from train_app.evaluation.matcher import Matcher, fit_matcher, of_matched
from train_app.evaluation.measures import Measures, proportion


@dataclass(frozen=True, slots=True)
class Readers:
    ngrams: Ngrams | None
    controls: Mapping[str, LabelClassifier]
    matcher: Matcher | None

    def measures(self, prefix: str, texts: Sequence[str], examples: Sequence[Example]) -> Measures:
        """PREFIX.told_CONTROL: share whose asked code is the one that is read off the text; PREFIX.matched. Of what nobody could be taught
        to read there is nothing."""
        found: Measures = {}
        for control, classifier in self.controls.items():
            rows = [row for row, example in enumerate(examples) if control in example.context.controls]
            if rows and self.ngrams:
                read = classifier.readings(self.ngrams.of([texts[row] for row in rows]), self.ngrams.names)
                right = [one.value == examples[row].context.controls[control] for one, row in zip(read, rows, strict=True)]
                found[f"{prefix}.told_{control}"] = proportion(right)
        return found | (of_matched(prefix, self.matcher, texts, examples) if self.matcher else {})


def fit_readers(examples: Sequence[Example], *, vocabulary: ControlVocabulary, seed: int = 0) -> Readers:
    """From the split that is kept for judges. A control is read where each of at least two values has rows of FOLDS groups."""
    if not examples:
        return Readers(None, {}, None)
    ngrams = Ngrams([example.text for example in examples])
    controls = {}
    for control in vocabulary.controls:
        labelled = [example for example in examples if control.name in example.given]
        groups: dict[str, set[str]] = {}
        for example in labelled:
            groups.setdefault(example.given[control.name], set()).add(example.group)
        taught = [example for example in labelled if len(groups[example.given[control.name]]) >= FOLDS]
        if len({example.given[control.name] for example in taught}) > 1:
            features = ngrams.of([example.text for example in taught])
            labels = [example.given[control.name] for example in taught]
            (last,) = self_train(
                features,
                labels,
                [example.group for example in taught],
                unlabelled=features[:0],
                teaches=[],
                confidence=1.0,
                rounds=1,
                seed=seed,
            )
            controls[control.name] = last.classifier
    return Readers(ngrams, controls, fit_matcher(examples, seed=seed))
