"""How a set of explanations uses product features: FMR, FCR, DIV as PETER defines them (Li et al., ACL 2021, utils.py)."""

from collections.abc import Sequence
from itertools import combinations


def feature_matching_ratio(texts: Sequence[str], targets: Sequence[str]) -> float:
    """FMR: share of texts in which the feature asked for occurs, in [0, 1]."""
    return sum(target in text for text, target in zip(texts, targets, strict=True)) / len(texts) if texts else 0.0


def feature_coverage_ratio(mentioned: Sequence[set[str]], features: set[str]) -> float:
    """FCR: distinct features mentioned anywhere over all features, in [0, 1]."""
    return len(set().union(*mentioned) & features) / len(features) if features else 0.0


def feature_diversity(mentioned: Sequence[set[str]]) -> float:
    """DIV: mean number of features that two texts share; lower is more diverse."""
    pairs = len(mentioned) * (len(mentioned) - 1) // 2
    if not pairs:
        return 0.0
    counts: dict[str, int] = {}
    for features in mentioned:
        for feature in features:
            counts[feature] = counts.get(feature, 0) + 1
    return sum(count * (count - 1) // 2 for count in counts.values()) / pairs


def feature_diversity_by_pairs(mentioned: Sequence[set[str]]) -> float:
    """DIV by its definition, in O(n²): what `feature_diversity` is tested against."""
    overlaps = [len(a & b) for a, b in combinations(mentioned, 2)]
    return sum(overlaps) / len(overlaps) if overlaps else 0.0
