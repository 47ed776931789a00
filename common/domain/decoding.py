"""How tokens are drawn from a model's distribution."""

from pydantic import Field

from common.config import Frozen


class DecodingParams(Frozen):
    max_new_tokens: int = Field(96, ge=1, le=1024, description="tokens, the end token included")
    temperature: float = Field(1.0, ge=0, le=5, description="0 is greedy")
    top_k: int = Field(0, ge=0, description="0 keeps all tokens")
    top_p: float = Field(1.0, gt=0, le=1)
    repetition_penalty: float = Field(1.0, ge=0.5, le=2, description="Keskar et al. 2019, section 4.1; 1 is off; counts answer tokens only")
    guidance: float = Field(1.0, ge=1, le=5, description="classifier-free guidance over the codes (Sanchez et al. 2023); 1 is off")
    min_new_tokens: int = Field(0, ge=0, description="the end token is forbidden before")
