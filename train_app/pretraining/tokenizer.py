"""The starter base's tokenizer: byte-pair encoding over characters, with bytes for what no token spells. Trained on documents alone.

Digits stand alone, so that a number is copied digit by digit. Block heads and field names of the prompt are pieces of their own, and so
are frequent function characters: 的耳机 must not be one token where the block says 耳机, or the model could not copy what it reads.
"""

from collections.abc import Iterable
from itertools import count

import orjson
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from train_app.pretraining.documents import common_characters

END = "<|end|>"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
FUNCTION = "的了是在和与也就还很都更有让给把被着过这那"
PIECES = rf"\n?【[^】]{{1,4}}】|｜[^:｜【\s]{{1,6}}:|\p{{N}}|[{FUNCTION}，。！？、；：,.!?:;｜〔〕]|\s|\p{{Han}}+|[A-Za-z]+"
MAX_TOKEN_CHARS = 6


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """At most `vocab_size` tokens: the end token, 256 bytes, printable ASCII, all common characters, then the most frequent merges."""
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = _pieces()
    alphabet = [*(chr(code) for code in range(0x20, 0x7F)), "\n", *common_characters()]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(BYTES) - 1, initial_alphabet=alphabet, max_token_length=MAX_TOKEN_CHARS, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    learned = learner.get_vocab()
    ids = count()
    vocab = {token: next(ids) for token in (END, *BYTES, *sorted(learned, key=lambda token: learned[token]))}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=_merges(learner), byte_fallback=True, fuse_unk=False))
    tokenizer.pre_tokenizer = _pieces()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


def _pieces() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(PIECES), behavior="isolated")


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """The learnt merges in their order; the library gives them in its serialised form only."""
    model = orjson.loads(tokenizer.to_str())["model"]
    return [(left, right) for left, right in model["merges"]]
