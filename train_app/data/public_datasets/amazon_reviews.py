"""Amazon Musical Instruments: real users, items, ratings and reviews over time, in English. No views, no clicks: none are made up.

Per user the last review is the test, the second last the validation, as PETER and its successors do; so a split by product does not
apply, and each review is a group of its own. Features are mined from the training reviews alone, and an item is described by those
that at least two of its training reviews name: none rests on the review it is to explain.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from common.packs.load import load_pack
from train_app.data.public_datasets.cleaning import content_key
from train_app.data.public_datasets.feature_mining import feature_sentence, features_in, mine_features
from train_app.data.public_datasets.raw_folder import ImportReport, RawFolder, read_lines

PACK = "amazon"
CATEGORY = "musical instrument accessory"
FEWEST_REVIEWS = 60
MOST_FEATURES = 150
FEATURES_PER_ITEM = 6
MAX_EVENT_CHARS = 5000
NOTES = {
    "origin": "github.com/lileipisces/Sentires-Guide, commit e04cabd18bb09d8d2e5bd6eef05f08738cfbb198",
    "upstream": "Amazon product data 2014 (J. McAuley, UCSD), 5-core",
    "licence": "none stated; upstream asks for citation and research use: not redistributed; user ids are personal data",
    "mapping": "concise <- title of the review, detailed <- its first sentence with a mined feature; emotion <- rating; title <- item id",
}


@dataclass(frozen=True, slots=True)
class Review:
    row: int
    user: str
    item: str
    rating: float
    summary: str
    text: str
    at: datetime
    purpose: str | None
    """"test" for a user's last review, "validation" for the second last, None for the rest."""


def import_amazon_reviews(source: Path | str, out: Path | str) -> ImportReport:
    """`source` is the folder with reviews.jsonl, sorted by user and time."""
    path, pack = Path(source) / "reviews.jsonl", load_pack(PACK)
    chars = {value.name: value.chars or (1, 1) for one in pack.controls.controls if one.name == "style" for value in one.values}
    topics = {value.word: value.name for control in pack.vocabulary.controls if control.name == "topic" for value in control.values}
    reviews = _reviews(path)
    training = [review for review in reviews if review.purpose is None]
    features = mine_features((review.text for review in training), fewest=FEWEST_REVIEWS, most=MOST_FEATURES)
    described = _item_features(training, features)
    with RawFolder(out, dataset="amazon-reviews", pack=PACK, notes={**NOTES, "features": list(features)}) as raw:
        for item in sorted({review.item for review in reviews}):
            attributes = {"feature": described[item]} if item in described else {}
            raw.add("products", {"product_id": item, "title": item, "category": CATEGORY, "attributes": attributes})
        seen: set[str] = set()
        for review in reviews:
            raw.add("events", _event(review, raw, path))
            said = feature_sentence(review.text, features, chars=chars["detailed"])
            if said is None:
                raw.drop("no sentence of fitting length names a feature", file=path, row=review.row)
            candidates = [("concise", review.summary, next(iter(features_in(review.summary, features)), None))]
            candidates += [("detailed", said[0], said[1])] if said else []
            for style, text, feature in candidates:
                lowest, highest = chars[style]
                why = None if lowest <= len(text) <= highest else f"{style} text out of bounds"
                if why is None and style == "detailed" and content_key(text) in seen:
                    why = "text occurs twice"
                if why is not None:
                    raw.drop(why, file=path, row=review.row)
                    continue
                seen.add(content_key(text))
                raw.add("reasons", _reason(review, text, style, feature, topics))
    return raw.report()


def _reviews(path: Path) -> list[Review]:
    rows = list(read_lines(path, "user", "item", "rating", "summary", "text", "time"))
    rows.sort(key=lambda numbered: (str(numbered[1]["user"]), cast(int, numbered[1]["time"]), numbered[0]))
    left = Counter(str(row["user"]) for _, row in rows)
    reviews = []
    for number, row in rows:
        user = str(row["user"])
        purpose = {1: "test", 2: "validation"}.get(left[user])
        left[user] -= 1
        at = datetime.fromtimestamp(cast(int, row["time"]), UTC)
        text, summary = (" ".join(str(row[name]).split()) for name in ("text", "summary"))
        rating = float(cast(float, row["rating"]))
        reviews.append(Review(number, user, str(row["item"]), rating, summary, text, at, purpose))
    return reviews


def _item_features(training: list[Review], features: list[str]) -> dict[str, list[str]]:
    """Item -> features that at least two of its training reviews name, most frequent first."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for review in training:
        counts[review.item].update(features_in(review.text, features))
    ranked = {item: [name for name, number in named.most_common() if number >= 2][:FEATURES_PER_ITEM] for item, named in counts.items()}
    return {item: names for item, names in ranked.items() if names}


def _event(review: Review, raw: RawFolder, path: Path) -> dict[str, object]:
    if len(review.text) > MAX_EVENT_CHARS:
        raw.drop(f"end of a review text beyond {MAX_EVENT_CHARS} characters", file=path, row=review.row)
    event: dict[str, object] = {
        "event_id": f"amazon-{review.row:06d}",
        "user_id": review.user,
        "product_id": review.item,
        "kind": "review",
        "at": review.at.isoformat(),
        "rating": review.rating,
    }
    return event | ({"text": review.text[:MAX_EVENT_CHARS]} if review.text else {})


def _reason(review: Review, text: str, style: str, feature: str | None, topics: dict[str, str]) -> dict[str, object]:
    emotion = "positive" if review.rating >= 4 else "negative" if review.rating <= 2 else "neutral"
    labels = ({"topic": topics[feature]} if feature in topics else {}) | {"emotion": emotion, "style": style}
    provenance = {"source": "amazon-reviews", "row": review.row, "group": f"{review.user}/{review.item}"}
    provenance |= {"feature": feature} if feature else {}
    provenance |= {"split": review.purpose} if review.purpose else {}
    return {
        "product_id": review.item,
        "user_id": review.user,
        "text": text,
        "labels": labels,
        "provenance": provenance,
        "at": review.at.isoformat(),
    }
