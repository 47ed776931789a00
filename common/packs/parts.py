"""What all files of a pack are made of: words, names, regular expressions, and a digest that layout does not change."""

import re
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, Field

from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import Frozen

Word = Annotated[str, Field(min_length=1, max_length=80)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


def _regex(pattern: str) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if compiled.match(""):
        raise ValueError("matches the empty text, so it would match everywhere")
    return pattern


Regex = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_regex)]


class Part(Frozen):
    """One file of a pack."""

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical JSON: comments and layout of the file do not count."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))
