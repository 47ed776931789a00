"""Bases from every place they may lie in: found, read without pickles, named by their bytes; and what a model held while it read a text."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from common.artifacts.registry import Registry
from common.artifacts.storage import open_storage
from common.errors import ArtifactNotFound, UnsupportedModel
from common.language.base_model import (
    Frame,
    LanguageModel,
    answer_logprobs,
    backbone,
    base_digest,
    head_logits,
    load_base,
    source_digest,
    teacher_forced,
)


@pytest.fixture(scope="module")
def folder(qwen2: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base")
    qwen2.model.save_pretrained(path)
    qwen2.tokenizer.save_pretrained(path)
    return path


def test_a_folder_loads_as_it_was_saved(folder: Path, qwen2: LanguageModel) -> None:
    loaded = load_base(str(folder))
    assert loaded.digest == base_digest(folder)
    assert (loaded.bos_id, loaded.eos_id, loaded.max_len, loaded.frame) == (None, qwen2.eos_id, 1024, Frame())
    assert not loaded.model.training
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, qwen2.model.state_dict()[name]), name
    assert load_base(str(folder), dtype="bfloat16").model.dtype is torch.bfloat16


def test_the_starter_base_comes_with_the_package_and_is_cut_by_its_own_tokenizer() -> None:
    """Its model type is qwen2, and transformers would cut it as Qwen does, losing all Chinese, if it were asked to choose."""
    starter = load_base("starter")
    assert starter.tokenizer.tokenize("【商品】鑫｜品牌:声海｜续航:30小时") == [
        *("【商品】", "<0xE9>", "<0x91>", "<0xAB>", "｜品牌:", "声", "海", "｜续航:", "3", "0", "小时"),
    ]
    assert (starter.bos_id, starter.max_len, starter.frame) == (None, 1024, Frame())
    num_parameters = sum(parameter.numel() for parameter in starter.model.parameters())
    assert 2_000_000 < num_parameters < 6_000_000
    assert len(starter.tokenizer) == starter.model.config.vocab_size <= 6000


def test_the_digest_names_configuration_weights_and_tokenizer_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "README.md").write_text("not part of it")
    assert base_digest(copy) == base_digest(folder)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        original = (copy / name).read_bytes()
        (copy / name).write_bytes(original + b" ")
        assert base_digest(copy) != base_digest(folder), name
        (copy / name).write_bytes(original)


def test_pickled_weights_are_never_read(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04whatever a pickle does")
    with pytest.raises(UnsupportedModel, match="safetensors"):
        load_base(str(tmp_path))


def test_code_in_a_folder_is_never_run(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = (tmp_path / "config.json").read_text()
    trap = '{"auto_map": {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"}, "model_type": "trap",'
    (tmp_path / "config.json").write_text(config.replace('"model_type": "qwen2",', "").replace("{", trap, 1))
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Config: ...\nclass Model: ...\n")
    with pytest.raises(UnsupportedModel):
        load_base(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_what_does_not_exist_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound, match="no such folder"):
        load_base(str(tmp_path / "nowhere" / "at" / "all"))
    with pytest.raises(ArtifactNotFound, match=r"nobody/nothing.*--base starter"):
        load_base("nobody/nothing", cache_dir=tmp_path)
    with pytest.raises(UnsupportedModel, match="float8"):
        load_base("starter", dtype="float8")
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=r"\.gguf"):
        load_base(str(tmp_path / "weights.bin"))


def test_a_base_in_a_bucket_is_named_by_its_digest_before_its_weights_come_here(folder: Path, bucket: str, tmp_path: Path) -> None:
    place = f"s3://{bucket}/bases"
    uri = f"{place}/{Registry(open_storage(place)).publish(folder)}"
    assert source_digest(uri) == base_digest(folder)
    assert not list(tmp_path.rglob("*.safetensors")), "nothing was fetched for it"
    loaded = load_base(uri)
    assert (loaded.source, loaded.digest) == (uri, base_digest(folder))
    with pytest.raises(ArtifactNotFound):
        load_base(f"{place}/v-0")


def test_a_frame_is_read_off_the_chat_template(chat: LanguageModel, gemma3_chat: LanguageModel) -> None:
    assert chat.frame == Frame(before="<|im_start|>user\n", after="<|im_end|>\n<|im_start|>assistant\n")
    assert gemma3_chat.frame == Frame(before="<|im_start|>user\n", after="<|im_end|>\n<|im_start|>model\n")
    assert gemma3_chat.eos_id == gemma3_chat.tokenizer.convert_tokens_to_ids("<|im_end|>")


def one_by_one(model: PreTrainedModel, row: list[int], start: int) -> torch.Tensor:
    """log-probability, entropy and gap of each answer token, from an unpadded pass of the whole model."""
    with torch.no_grad():
        logprobs_TV = model(torch.tensor([row])).logits[0].log_softmax(-1)[start - 1 : -1]
    answer = torch.tensor(row[start:], dtype=torch.long)
    logprob_T = logprobs_TV[torch.arange(len(answer)), answer]
    entropy_T = torch.special.entr(logprobs_TV.exp()).sum(-1)
    return torch.stack([logprob_T, entropy_T, logprobs_TV.max(-1).values - logprob_T], -1)


@pytest.mark.parametrize("name", ["qwen2", "gemma3"])
def test_one_padded_pass_gives_what_each_sequence_gives_alone(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name).model
    ids = [list(range(5, 30)), list(range(40, 47)), [3, 9, 3]]
    prompt_lens = [20, 1, 3]
    with torch.no_grad():
        found = teacher_forced(model, ids, prompt_lens=prompt_lens)
    for row, start, states in zip(ids, prompt_lens, found, strict=True):
        stats_T3 = torch.stack([states.logprob_T, states.entropy_T, states.gap_T], -1)
        assert states.hidden_TD.shape == (len(row) - start, 32)
        torch.testing.assert_close(stats_T3, one_by_one(model, row, start), atol=1e-5, rtol=1e-5)
        logprobs_TV = head_logits(model, states.hidden_TD).log_softmax(-1)
        torch.testing.assert_close(logprobs_TV.amax(-1) - states.logprob_T, states.gap_T)
    assert teacher_forced(model, [], prompt_lens=[]) == []


PROMPTS = [list(range(5, 14)), list(range(40, 47))]
ANSWERS = [[7, 9, 11], [7, 30, 31, 32], [12], [], [7, 9, 11]]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["qwen2", "gemma3"])
def test_answers_to_one_prompt_share_its_copy_and_read_as_they_do_alone(name: str, attention: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name).model
    ids = [[*prompt, *answer] for answer in ANSWERS for prompt in PROMPTS]  # prompts take turns: the order of answers is the caller's
    starts = [len(prompt) for _ in ANSWERS for prompt in PROMPTS]
    before, seen = model.config._attn_implementation, []
    hook = backbone(model).register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True)
    model.set_attn_implementation(attention)
    try:
        for at, (row, start) in enumerate(zip(ids, starts, strict=True), start=1):
            (at * answer_logprobs(model, [row], prompt_lens=[start])[0].sum()).backward()
        alone = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
        model.zero_grad()
        seen.clear()
        states = teacher_forced(model, ids, prompt_lens=starts)
        sum(at * one.logprob_T.sum() for at, one in enumerate(states, start=1)).backward()
        together = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    finally:
        hook.remove()
        model.set_attn_implementation(before)
        model.zero_grad(set_to_none=True)
    assert [tuple(shape) for shape in seen] == [(2, 32)], "two prompts, and the answers of each behind it"
    for row, start, one in zip(ids, starts, states, strict=True):
        stats_T3 = torch.stack([one.logprob_T, one.entropy_T, one.gap_T], -1).detach()
        torch.testing.assert_close(stats_T3, one_by_one(model, row, start), atol=1e-5, rtol=1e-5)
    for key, gradient in alone.items():
        torch.testing.assert_close(together[key], gradient, atol=1e-4, rtol=1e-4)


def test_where_a_layers_window_is_shorter_than_a_sequence_each_is_read_alone(gemma3: LanguageModel) -> None:
    window = gemma3.model.config.sliding_window
    ids = [[*([5, 6, 7, 8] * window), answer, 9] for answer in (10, 11)]
    with torch.no_grad():
        states = teacher_forced(gemma3.model, ids, prompt_lens=[4 * window] * 2)
    for row, one in zip(ids, states, strict=True):
        found = torch.stack([one.logprob_T, one.entropy_T, one.gap_T], -1)
        torch.testing.assert_close(found, one_by_one(gemma3.model, row, 4 * window), atol=1e-5, rtol=1e-5)


def test_gradients_flow_through_a_teacher_forced_pass(qwen2: LanguageModel) -> None:
    states = teacher_forced(qwen2.model, [[1, 2, 3, 4]], prompt_lens=[2])
    states[0].logprob_T.sum().backward()
    assert all(parameter.grad is not None for parameter in qwen2.model.parameters())
    qwen2.model.zero_grad(set_to_none=True)
