"""Who a reason is written for. A user without an id and without events is a new user, not an error."""

from pydantic import Field

from common.config import Frozen


class User(Frozen):
    user_id: str = Field(min_length=1, max_length=128)
    persona: str | None = Field(None, max_length=80, description="label a shop assigns (烹饪达人); untrusted text")
