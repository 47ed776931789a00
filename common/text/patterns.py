"""What a regular expression needs of a text: how long a match can be, in how many ways, and strings of which every match holds one.
Matches nothing.

Python's own parser reads the expression. It has no public name: this file alone knows it, and its tests hold it to what `re` does.
"""

from collections import Counter
from itertools import product
from math import prod
from operator import itemgetter
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MOST = 256
"""Strings that one stretch of a pattern may stand for before it is taken for anything."""
LONG, MANY = 1000, 10**9
"""Repetitions, and ways to match, from which on more of them make no difference."""

Strings = frozenset[str]
_EMPTY: Strings = frozenset([""])


def longest(pattern: str) -> int:
    """Characters of its longest match; a pattern that may go on for ever has a very large one."""
    return int(parser.parse(pattern).getwidth()[1])


def ways(pattern: str) -> int:
    """At most so many are tried to match from one place of a text, whatever the text: (a{1,9}){1,8} has 48 million. Up to MANY."""
    return _ways(parser.parse(pattern))


def anchors(pattern: str, *, length: int) -> Strings | None:
    """Strings of at most `length` characters, one of which is in every text that the pattern matches. None: nothing so certain is known."""
    exact, needed = _read(parser.parse(pattern))
    best = max(filter(None, (exact, needed)), key=_worth, default=None)
    if best is None or "" in best:
        return None
    return frozenset(word[:length] for word in best)


def _ways(sequence: Any) -> int:
    return min(MANY, prod(_ways_of(operation, argument) for operation, argument in sequence))


def _ways_of(operation: Any, argument: Any) -> int:
    if operation is codes.SUBPATTERN:
        return _ways(argument[-1])
    if operation in (codes.ASSERT, codes.ASSERT_NOT):
        return _ways(argument[1])
    if operation is codes.BRANCH:
        return _ways_of_branches([(_read(branch)[0], _ways(branch)) for branch in argument[1]])
    if operation in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        fewest, most, inner = argument
        each = _ways(inner)
        return sum(int(each**count) for count in range(fewest, min(most, LONG) + 1))
    return 1


def _ways_of_branches(branches: list[tuple[Strings | None, int]]) -> int:
    """The strings that each stands for, and its own ways. Of plain words with one length only one can stand at a place."""
    found = sum(ways for strings, ways in branches if strings is None or ways > 1)
    words = Counter(word for strings, ways in branches if strings is not None and ways == 1 for word in strings)
    return found + sum({len(word): times for word, times in sorted(words.items(), key=itemgetter(1))}.values())


def _worth(strings: Strings) -> tuple[int, int]:
    """The rarer to be met by chance, the better: long before few."""
    return min(map(len, strings)), -len(strings)


def _read(sequence: Any) -> tuple[Strings | None, Strings | None]:
    """All strings that it stands for, where they can be counted, and strings of which every match holds one."""
    parts: list[Strings] = [_EMPTY]
    needed: list[Strings] = []
    counted = True
    for operation, argument in sequence:
        exact, inner = _element(operation, argument)
        if inner is not None:
            needed.append(inner)
        joined = frozenset(map("".join, product(parts[-1], exact))) if exact and len(parts[-1]) * len(exact) <= MOST else None
        if joined is not None:
            parts[-1] = joined
        else:
            counted = False
            parts.append(exact or _EMPTY)
    needed += [strings for strings in parts if "" not in strings]
    return (parts[0] if counted else None), max(needed, key=_worth, default=None)


def _element(operation: Any, argument: Any) -> tuple[Strings | None, Strings | None]:
    if operation is codes.LITERAL:
        return frozenset([chr(argument)]), None
    if operation is codes.IN and all(kind is codes.LITERAL for kind, _ in argument):
        return frozenset(chr(code) for _, code in argument), None
    if operation in (codes.AT, codes.ASSERT, codes.ASSERT_NOT):
        return _EMPTY, None
    if operation is codes.SUBPATTERN:
        return _read(argument[-1])
    if operation is codes.BRANCH:
        return _branch([_read(branch) for branch in argument[1]])
    if operation in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        fewest, most, inner = argument
        exact, needed = _read(inner)
        if exact is not None and most <= 2:
            times = [frozenset(map("".join, product(exact, repeat=count))) for count in range(fewest, most + 1)]
            if sum(map(len, times)) <= MOST:
                return frozenset().union(*times), None
        return None, (needed or exact) if fewest else None
    return None, None


def _branch(read: list[tuple[Strings | None, Strings | None]]) -> tuple[Strings | None, Strings | None]:
    exacts = [exact for exact, _ in read if exact is not None]
    if len(exacts) == len(read) and sum(map(len, exacts)) <= MOST:
        return frozenset().union(*exacts), None
    each = [max(filter(None, pair), key=_worth, default=None) for pair in read]
    certain = [strings for strings in each if strings is not None and "" not in strings]
    return None, frozenset().union(*certain) if len(certain) == len(each) else None
