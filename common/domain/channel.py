"""Where a reason is shown, and what is asked of it there when nobody says otherwise. Which channels there are is a pack's data."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from common.config import Frozen


class Channel(Frozen):
    description: str = Field(min_length=1, max_length=200, description="for the person who reads a refusal or the pack")
    controls: dict[str, str] = Field(
        default_factory=dict, description="control -> value where neither the request nor the user's taste has one"
    )
    max_chars: int | None = Field(None, ge=10, le=500, description="longest text, in characters; null: as the pack has it for any text")
    query: Literal["none", "optional", "required"] = Field("none", description="whether a request brings what the user looked for or asked")


Channels = Mapping[str, Channel]
NO_CHANNEL = Channel(description="none was named")
