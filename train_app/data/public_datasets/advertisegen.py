"""AdvertiseGen: attributes of clothes -> advertising copy. No title, user, price or rating: they stay absent.

A row's `content` string is the product and the group of the split: 248 of them repeat. The title a product needs is its 类型, which is
all that the set says of what it is.
"""

from pathlib import Path

from common.artifacts.digest import sha256_bytes
from common.errors import BadInput
from common.features.column_map import PairFormat
from common.features.rows import FieldProblem, attribute_pairs
from common.packs.load import load_pack
from train_app.data.public_datasets.cleaning import content_key, length_class, placeholder_in, short_id, unfit, without_placeholders
from train_app.data.public_datasets.raw_folder import ImportReport, RawFolder, read_lines

PACK = "advertisegen"
TESTED_PERCENT = 17
"""Of the groups whose texts are all whole: 539 rows."""
KIND, FASHION = "类型", "风格"
NOTES = {
    "origin": "github.com/caixiaomao/ChatGLM-6B, commit 0840795d50660b8d2f66a3b4fff899d8270ec118, ptuning/AdvertiseGen/train.json",
    "upstream": "Shao et al., EMNLP 2019 (D19-1321, arXiv:1908.06605, PHVM)",
    "licence": "disputed (cc-by-4.0, apache-2.0 and CC BY-NC 4.0 are all claimed; the authors state none): research use, not redistributed",
    "mapping": "category and title <- 类型; style <- tercile of length; fashion <- first frequent value of 风格; no user, price or rating",
}


def import_advertisegen(source: Path | str, out: Path | str, *, cut_placeholders: bool = False) -> ImportReport:
    """`source` is the folder with train.jsonl.

    A third of the texts hold a placeholder. Dropped by default; with `cut_placeholders` only their clauses that hold one are, and no
    row of such a text, nor any of its group, is tested on: `provenance.split: test` names the rows that are, whole, TESTED_PERCENT of
    their groups by hash. Meant for `data.held_out: 0`.
    """
    path, pack = Path(source) / "train.jsonl", load_pack(PACK)
    fashion = next(control for control in pack.vocabulary.controls if control.name == "fashion")
    names = {value.word: value.name for value in fashion.values}
    products: set[str] = set()
    seen: set[str] = set()
    with RawFolder(out, dataset="advertisegen", pack=PACK, notes=NOTES) as raw:
        rows = list(read_lines(path, "id", "content", "summary"))
        whole = {str(row["content"]) for _, row in rows} - {str(row["content"]) for _, row in rows if placeholder_in(str(row["summary"]))}
        for number, row in rows:
            content, text = str(row["content"]), str(row["summary"])
            if cut_placeholders:
                text = without_placeholders(text)
            style = length_class(text, pack)
            why = unfit(text) or ("text occurs twice" if content_key(text) in seen else None) or (None if style else "length out of bounds")
            if why is not None:
                raw.drop(why, file=path, row=number)
                continue
            seen.add(content_key(text))
            try:
                pairs = attribute_pairs(content, PairFormat())
            except FieldProblem as problem:
                raise BadInput(f"{path}, row {number}: {problem}") from problem
            product_id = short_id("adgen", content)
            kind = next((value for key, value in pairs if key == KIND), None)
            if kind is None:
                raise BadInput(f"{path}, row {number}: content names no {KIND}; got {content!r:.80}: is this another data set?")
            if product_id not in products:
                products.add(product_id)
                others = [pair for pair in pairs if pair[0] != KIND]
                raw.add("products", {"product_id": product_id, "title": kind, "category": kind, "attributes": others})
            style_names = [names[value] for key, value in pairs if key == FASHION and value in names]
            labels = {"fashion": style_names[0]} if style_names else {}
            raw.add(
                "reasons",
                {
                    "product_id": product_id,
                    "text": text,
                    "labels": labels | {"style": style},
                    "provenance": {"source": "advertisegen", "id": row["id"], "group": content}
                    | ({"split": "test"} if cut_placeholders and content in whole and _tested(content) else {}),
                },
            )
    return raw.report()


def _tested(content: str) -> bool:
    return int(sha256_bytes(f"tested/{content}".encode()), 16) % 100 < TESTED_PERCENT
