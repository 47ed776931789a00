"""What follows from a product's facts and what they rule out: a pack's implications and contradictions as one small graph of words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.packs.knowledge import Knowledge
from common.packs.schema import FactPack
from common.text.normalise import fold
from common.text.phrases import PhraseSet


@dataclass(frozen=True, slots=True)
class _Rule:
    known: tuple[str, ...]
    why: str


class Graph:
    def __init__(self, facts: FactPack, *, knowledge: Knowledge) -> None:
        edges: dict[str, set[str]] = {}
        for implication in knowledge.implications:
            for word in implication.known:
                edges.setdefault(_folded(word), set()).update(map(_folded, implication.implied))
        for value, synonyms in facts.synonyms.items():
            edges.setdefault(_folded(value), set()).update(map(_folded, synonyms))
        self._edges = edges
        self._starts = PhraseSet(edges)
        self._refuting: dict[str, list[_Rule]] = {}
        for one in knowledge.contradictions:
            rule = _Rule(tuple(map(_folded, one.known)), one.why)
            for word in one.refuted:
                self._refuting.setdefault(_folded(word), []).append(rule)
        self.deniable = frozenset(self._refuting) | {word for implied in edges.values() for word in implied}
        self.unless = frozenset(_folded(word) for one in knowledge.contradictions for word in one.unless)
        self._kinds: dict[str, tuple[str, ...]] = {}
        for kind in knowledge.checkable:
            if kind.exclusive:
                words = tuple(map(_folded, kind.words))
                self._kinds |= {word: words for word in words}

    def entailed(self, texts: Iterable[tuple[str, str]]) -> Mapping[str, str]:
        """(source, text) of all facts -> word that follows -> source; what stands in a fact by itself is not among them."""
        found: dict[str, str] = {}
        for source, text in texts:
            todo = [hit.phrase for hit in self._starts.find(text)]
            while todo:
                for word in self._edges.get(todo.pop(), ()):
                    if word not in found:
                        found[word] = source
                        todo.append(word)
        return found

    def refuted(self, word: str, texts: Iterable[tuple[str, str]], entailed: Mapping[str, str]) -> tuple[str, str] | None:
        """The source of a fact that rules `word` out, and why."""
        texts = tuple(texts)
        for rule in self._refuting.get(word, ()):
            for fact in rule.known:
                source = entailed.get(fact) or next((source for source, text in texts if fact in text), None)
                if source is not None:
                    return source, f"the product is {fact}: {rule.why}"
        return None

    def other_of_its_kind(self, word: str, texts: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
        """The source of a fact that names another word of an exclusive kind, and that word."""
        kind = self._kinds.get(word, ())
        for source, text in texts:
            for other in kind:
                if other in text and other not in word and word not in other:
                    return source, other
        return None


def _folded(text: str) -> str:
    return fold(text)[0].strip()
