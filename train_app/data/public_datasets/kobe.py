"""TaoDescribe (KOBE): title, aspect and persona -> a human description. Category, price, rating and behaviour stay absent.

The persona is a label that the set's authors assigned; it becomes a user with that persona and without events. The published dev file
is the test: no title is in both files. Rows of one title are one product, so a split by product is a split by title.
"""

from pathlib import Path

from common.packs.load import load_pack
from train_app.data.public_datasets.cleaning import content_key, length_class, short_id, unfit
from train_app.data.public_datasets.raw_folder import ImportReport, RawFolder, read_lines

PACK = "kobe"
CATEGORY = "商品"
"""The set names none, and a product needs a noun; this one claims nothing."""
NOTES = {
    "origin": "github.com/bearblog/deecamp19_AI_copywriter_server, commit 0814a9fb60a6d23081b5372ed3ea602e07158a84",
    "upstream": "Tianchi dataset 9717 (TaoDescribe); KOBE, KDD 2019, arXiv:1903.12457",
    "licence": "none stated for the data (a third party says CC BY-NC 4.0): research, non-commercial, not redistributed",
    "mapping": "topic <- aspect; style <- tercile of length; persona <- label of the authors; no behaviour, price, rating or category",
}


def import_kobe(source: Path | str, out: Path | str) -> ImportReport:
    """`source` holds train.jsonl and dev.jsonl."""
    source, pack = Path(source), load_pack(PACK)
    products: set[str] = set()
    users: set[str] = set()
    seen: set[str] = set()
    with RawFolder(out, dataset="kobe", pack=PACK, notes=NOTES) as raw:
        for name in ("dev.jsonl", "train.jsonl"):  # dev first: of a text in both files the tested row stays
            path = source / name
            for number, row in read_lines(path, "id", "title", "aspect", "user_category_id", "user_category", "description"):
                title, text = str(row["title"]), str(row["description"])
                style = length_class(text, pack)
                why = (
                    unfit(text)
                    or ("text occurs twice" if content_key(text) in seen else None)
                    or (None if style else "length out of bounds")
                )
                if why is not None:
                    raw.drop(why, file=path, row=number)
                    continue
                seen.add(content_key(text))
                product_id, user_id = short_id("kobe", title), f"kobe-persona-{row['user_category_id']}"
                if product_id not in products:
                    products.add(product_id)
                    raw.add("products", {"product_id": product_id, "title": title, "category": CATEGORY})
                if user_id not in users:
                    users.add(user_id)
                    raw.add("users", {"user_id": user_id, "persona": row["user_category"]})
                provenance = {"source": "kobe", "id": row["id"]} | ({"split": "test"} if name == "dev.jsonl" else {})
                labels = {"topic": row["aspect"], "style": style}
                raw.add("reasons", {"product_id": product_id, "user_id": user_id, "text": text, "labels": labels, "provenance": provenance})
    return raw.report()
