"""Makes the decode engine that is named. How each works is its own business; the second one's library is imported when it is asked for."""

from common.generation.engine import Engine, EngineName
from common.generation.hf import HfEngine
from common.language.base_model import LanguageModel


def engine_named(
    name: EngineName, language: LanguageModel, *, max_len: int, slots: int, keep_features: bool, compile: bool = False
) -> Engine:
    """It decodes `language`'s model as it is now. `compile` is for "hf". Raises what the engine's constructor raises."""
    eos_ids = [language.eos_id]
    if name == "hf":
        return HfEngine(language.model, eos_ids=eos_ids, max_len=max_len, slots=slots, keep_features=keep_features, compile=compile)
    assert not compile, f"{name} does not have its steps compiled by us"
    from common.generation.vllm.engine import VllmEngine

    return VllmEngine(language.model, eos_ids=eos_ids, max_len=max_len, slots=slots, keep_features=keep_features)
