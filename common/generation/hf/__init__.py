"""The decode engine over a Hugging Face causal LM, and what it is made of: slots for keys and values, their rows, who runs next."""

from common.generation.hf.engine import HfEngine

__all__ = ["HfEngine"]
