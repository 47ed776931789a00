from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import Qwen2Config, Qwen2ForCausalLM

from common.domain.controls import Control, ControlValue, ControlVocabulary
from common.domain.token_features import TokenFeatures
from common.quality.discriminator import Discriminator, discriminator_config, features_batch

VOCABULARY = ControlVocabulary(
    controls=(
        Control(name="style", word="风格", values=(ControlValue(name="concise", word="简洁"), ControlValue(name="detailed", word="详细"))),
        Control(name="topic", word="主题", values=(ControlValue(name="quality", word="品质"), ControlValue(name="look", word="外观"))),
    )
)
HIDDEN, TOKENS = 12, 40


def features(length: int, *, seed: int) -> TokenFeatures:
    rng = np.random.default_rng(seed)
    return TokenFeatures(
        ids_T=rng.integers(0, TOKENS, length).astype(np.int32),
        hidden_TD=rng.normal(size=(length, HIDDEN)).astype(np.float16),
        stats_T3=rng.normal(size=(length, 3)).astype(np.float32),
    )


def discriminator(channels: int = 16) -> Discriminator:
    torch.manual_seed(0)
    config = discriminator_config(VOCABULARY, hidden_size=HIDDEN, channels=channels, dropout=0.1)
    return Discriminator(config, embedding_VD=torch.randn(TOKENS, HIDDEN)).eval()


def test_a_score_does_not_depend_on_what_stands_beside_a_text() -> None:
    texts = [features(length, seed=length) for length in (3, 9, 1, 14)]
    model = discriminator()
    together = model.logits(texts, [{}] * 4)
    alone = [model.logits([text], [{}])[0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.fixture(scope="module")
def base() -> Qwen2ForCausalLM:
    torch.manual_seed(1)
    shape = Qwen2Config(
        vocab_size=TOKENS, hidden_size=HIDDEN, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    return Qwen2ForCausalLM(shape).eval()


def of_kind(kind: str, base: Qwen2ForCausalLM) -> Discriminator:
    torch.manual_seed(2)
    config = discriminator_config(VOCABULARY, hidden_size=HIDDEN, kind=kind, channels=16, lora_rank=2)
    made = Discriminator(config, embedding_VD=base.get_input_embeddings().weight, base=base).eval()
    for parameter in made.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return made


def asked(length: int, *, seed: int) -> TokenFeatures:
    """With a prompt of another length than the text's."""
    prompt = np.random.default_rng(seed + 100).integers(0, TOKENS, 3 + seed % 7)
    return replace(features(length, seed=seed), prompt_ids_P=prompt.astype(np.int32))


@pytest.mark.parametrize("kind", ["ids", "lora_head"])
def test_of_every_kind_a_score_depends_on_text_prompt_and_codes_and_on_nothing_beside_them(kind: str, base) -> None:
    texts, model = [asked(length, seed=length) for length in (3, 9, 1, 14)], of_kind(kind, base)
    together = model.logits(texts, [{}] * 4)
    assert together == pytest.approx([model.logits([text], [{}])[0] for text in texts], abs=1e-5)
    elsewhere = [replace(text, prompt_ids_P=texts[0].prompt_ids_P) for text in texts]
    assert model.logits(elsewhere, [{}] * 4)[1:] != pytest.approx(together[1:], abs=1e-4)
    assert model.logits(texts, [{"style": "concise"}] * 4) != pytest.approx(together, abs=1e-4)
    assert model.logits([asked(3, seed=50)], [{}]) != pytest.approx(together[:1], abs=1e-4)


def test_a_head_on_the_base_borrows_it_and_leaves_it_as_it_was(base) -> None:
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    model, ids = of_kind("lora_head", base), torch.arange(6)[None]
    plain = base(ids).logits
    model.logits([asked(5, seed=1)], [{}])
    assert torch.equal(base(ids).logits, plain)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert not [name for name in model.state_dict() if "embed" in name]
    assert sum(tensor.numel() for tensor in model.state_dict().values()) < sum(tensor.numel() for tensor in before.values())


def test_lora_changes_nothing_before_it_has_learnt_anything(base) -> None:
    torch.manual_seed(2)
    config = discriminator_config(VOCABULARY, hidden_size=HIDDEN, kind="lora_head", channels=16)
    model = Discriminator(config, embedding_VD=base.get_input_embeddings().weight, base=base).eval()
    text = asked(4, seed=3)
    whole = torch.tensor([[*text.prompt_ids_P, *text.ids_T]])
    with torch.no_grad():
        expected = base.get_decoder()(input_ids=whole).last_hidden_state[0, len(text.prompt_ids_P) :]
        torch.testing.assert_close(model.inputs(features_batch([text]))[0], expected)


def test_scores_come_in_the_order_given_whatever_the_batch() -> None:
    texts = [features(3 + index % 5, seed=index) for index in range(11)]
    assert discriminator().logits(texts, [{}] * 11, batch_size=3) == pytest.approx(discriminator().logits(texts, [{}] * 11), abs=1e-5)


def test_the_codes_count() -> None:
    text = features(8, seed=1)
    scores = discriminator().logits([text] * 3, [{}, {"style": "concise"}, {"style": "detailed"}])
    assert len({round(score, 4) for score in scores}) == 3


def test_a_code_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(KeyError):
        discriminator().logits([features(4, seed=0)], [{"style": "shouting"}])


def test_a_text_without_tokens_has_a_finite_score() -> None:
    scores = discriminator().score([features(0, seed=0), features(5, seed=1)], [{}, {}])
    assert all(0 <= score <= 1 for score in scores)


def test_what_a_person_would_write_is_what_the_generator_would_corrected_by_the_logit() -> None:
    texts, model = [features(6, seed=seed) for seed in range(3)], discriminator()
    expected = [text.stats_T3[:, 0].sum() + logit for text, logit in zip(texts, model.logits(texts, [{}] * 3), strict=True)]
    assert model.log_real(texts, [{}] * 3) == pytest.approx(expected, abs=1e-5)


def test_temperature_softens_a_score_and_keeps_the_order() -> None:
    texts, model = [features(6, seed=seed) for seed in range(6)], discriminator()
    model.offset.fill_(float(np.median(model.log_real(texts, [{}] * 6))))
    plain = model.score(texts, [{}] * 6)
    model.temperature.fill_(4.0)
    soft = model.score(texts, [{}] * 6)
    assert np.argsort(plain).tolist() == np.argsort(soft).tolist()
    assert all(abs(one - 0.5) < abs(other - 0.5) for one, other in zip(soft, plain, strict=True))


def test_the_embedding_of_the_base_is_not_saved_and_the_temperature_is() -> None:
    names = discriminator().state_dict().keys()
    assert "embedding" not in names
    assert "temperature" in names


def test_it_stays_small_enough_for_the_bundle() -> None:
    config = discriminator_config(VOCABULARY, hidden_size=256)
    count = sum(parameter.numel() for parameter in Discriminator(config, embedding_VD=torch.zeros(10, 256)).parameters())
    assert count <= 600_000


def test_it_learns_an_agreement_between_a_token_and_the_state_that_predicted_it() -> None:
    """Broken texts hold one token whose embedding disagrees with the state; lengths, tokens and statistics say nothing."""
    model = discriminator(channels=24)
    rng = np.random.default_rng(5)

    def text(broken: bool) -> TokenFeatures:
        ids = rng.integers(0, TOKENS, 8)
        hidden = model.embedding.numpy()[ids] + rng.normal(size=(8, HIDDEN)) * 0.1
        if broken:
            hidden[rng.integers(8)] *= -1
        return TokenFeatures(ids.astype(np.int32), hidden.astype(np.float16), np.zeros((8, 3), np.float32))

    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        broken = [bool(value) for value in rng.integers(0, 2, 32)]
        model.train()
        out = model(features_batch([text(one) for one in broken]), model.code_indices([{}] * 32))
        loss = binary_cross_entropy_with_logits(out.logit_B, 1.0 - torch.tensor(broken).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    whole, wrong = model.logits([text(False) for _ in range(100)], [{}] * 100), model.logits([text(True) for _ in range(100)], [{}] * 100)
    assert np.mean([one > other for one, other in zip(whole, wrong, strict=True)]) > 0.9
