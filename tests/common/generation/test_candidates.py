import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.controls import Control, ControlValue, ControlVocabulary
from common.domain.decoding import DecodingParams
from common.domain.product import Product
from common.errors import PromptTooLong
from common.generation.candidates import Candidate, Writer, candidate, room_for, sequences
from common.generation.engine import Generated
from common.generation.hf import HfEngine
from common.language.base_model import language_model

STYLE = Control(name="style", word="风格", values=(ControlValue(name="concise", word="简洁"), ControlValue(name="detailed", word="详细")))
VOCABULARY = ControlVocabulary(controls=(STYLE,))
DECODING = DecodingParams(max_new_tokens=12, temperature=1.0)
NAMES = ["耳机", "跑鞋", "手表", "水壶", "台灯"]


@pytest.fixture(scope="module")
def language():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate([*alphabet, "<eos>"])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(fast), max_position_embeddings=512, eos_token_id=fast.eos_token_id, **shape))
    return language_model(model.eval(), fast, digest="0" * 64, source="test")


def writer(language, slots: int = 8, keep_features: bool = False) -> Writer:
    engine = HfEngine(language.model, eos_ids=[language.eos_id], max_len=400, slots=slots, keep_features=keep_features)
    return Writer(language, engine, VOCABULARY, DECODING, "run")


def texts(written: list[list[Candidate]]) -> list[list[tuple[int, ...]]]:
    """The drawn ids; log-probabilities may differ in their last digits."""
    return [[one.ids for one in own] for own in written]


def page(viewed: str | None = "看过的鞋") -> list[Context]:
    seen = ProductMention(product_id="old", title=viewed, category=viewed) if viewed else None
    return [
        Context(
            product=Product(product_id=f"p{i}", title=name, category=name),
            behavior=BehaviorSummary(last_viewed=seen),
            controls={"style": "concise"} if i % 2 else {},
        )
        for i, name in enumerate(NAMES)
    ]


def test_k_candidates_come_for_each_context_in_order(language):
    written = writer(language).write(page(), k=3, attempt=0)
    assert [len(own) for own in written] == [3] * len(NAMES)
    for own in written:
        assert len({one.ids for one in own}) == 3
        for one in own:
            assert one.min_logprob <= one.mean_logprob < 0
            assert one.num_tokens in (len(one.ids), len(one.ids) + 1)


def test_the_text_of_an_item_does_not_depend_on_its_page(language):
    together = texts(writer(language).write(page(), k=2, attempt=0))
    assert texts(writer(language, slots=3).write(page()[::-1], k=2, attempt=0))[::-1] == together
    assert [texts(writer(language).write([context], k=2, attempt=0))[0] for context in page()] == together


def test_another_attempt_draws_other_texts_and_more_candidates_keep_the_first(language):
    first = texts(writer(language).write(page(), k=2, attempt=0))
    again = texts(writer(language).write(page(), k=2, attempt=1))
    assert all(not set(x) & set(y) for x, y in zip(first, again, strict=True))
    assert [own[:2] for own in texts(writer(language).write(page(), k=4, attempt=0))] == first


def test_a_page_shares_the_prefix_up_to_the_product_and_guidance_has_no_code(language):
    asked = sequences(page(), language=language, vocabulary=VOCABULARY, run_id="run", k=1, attempt=0)
    assert len({sequence.prompt_ids[: sequence.prefix_len] for sequence in asked}) == 1
    assert [sequence.null_prompt_ids == sequence.prompt_ids for sequence in asked] == [True, False, True, False, True]


def test_a_prompt_that_leaves_no_room_is_refused_before_anything_is_queued(language):
    asked = sequences(page(), language=language, vocabulary=VOCABULARY, run_id="run", k=1, attempt=0)
    longest = max(len(sequence.prompt_ids) for sequence in asked)
    assert sequences(page(), language=language, vocabulary=VOCABULARY, run_id="run", k=1, attempt=0, longest=longest) == asked
    with pytest.raises(PromptTooLong, match=f"{longest} prompt tokens; at most {longest - 1} leave room"):
        sequences(page(), language=language, vocabulary=VOCABULARY, run_id="run", k=1, attempt=0, longest=longest - 1)


def test_the_room_of_an_engine_holds_the_longest_prompt_and_its_answer_or_names_the_product(language):
    asked = sequences(page(), language=language, vocabulary=VOCABULARY, run_id="run", k=1, attempt=0)
    longest = max(max(len(one.prompt_ids), len(one.null_prompt_ids)) for one in asked)
    assert room_for(page(), language=language, vocabulary=VOCABULARY, max_new_tokens=12) == longest + 12
    with pytest.raises(PromptTooLong, match=r"product p\d: .* takes 512 together"):
        room_for(page(), language=language, vocabulary=VOCABULARY, max_new_tokens=512 - longest + 1)


def test_features_come_along_where_the_engine_keeps_them(language):
    [[one]] = writer(language, keep_features=True).write(page()[:1], k=1, attempt=0)
    assert one.features.hidden_TD.shape == (one.num_tokens, 16)


def test_an_empty_answer_has_no_text_and_no_score(language):
    empty = candidate(Generated(ids=(), logprobs=(), features=None, finish_reason="cancelled"), language)
    assert (empty.text, empty.num_tokens, empty.mean_logprob, empty.min_logprob) == ("", 0, 0.0, 0.0)


def test_a_prompt_that_is_too_long_leaves_the_writer_usable(language):
    long = Context(product=Product(product_id="huge", title="长" * 300, category="类" * 80))
    engine = HfEngine(language.model, eos_ids=[language.eos_id], max_len=150)
    small = Writer(language, engine, VOCABULARY, DECODING, "run")
    with pytest.raises(PromptTooLong):
        small.write([*page(None)[:1], long], k=1, attempt=0)
    assert len(small.write(page(None)[:1], k=1, attempt=0)) == 1
