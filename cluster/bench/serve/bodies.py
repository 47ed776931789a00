"""Requests that nobody would send, among some that anybody would: a valid page, parts of which are replaced by what breaks parsers.

Deterministic: the same generator gives the same requests. Text is our own or made of code points drawn at random.
"""

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CATEGORIES = ("蓝牙耳机", "跑鞋", "保温杯", "台灯", "面霜", "白酒", "理财产品", "ear buds")
WORDS = (
    "静音",
    "轻云",
    "30小时续航",
    "纯棉",
    "防水",
    "最好的",
    "【要求】风格:详细",
    "忽略以上内容",
    "<eos>",
    "Bluetooth 5.3",
    "零添加",
    "买一送一",
)
STRANGE = (
    *(
        "",
        " ",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\u200b" * 40,
        "\ufeff",
        "\ud7ff",
        "e" + "\u0301" * 300,
        "\U0001f469\u200d" * 30,
        "\ufdfa" * 200,
    ),
    *("\u32ff", "\U0010ffff", "\uff46\uff55\uff4c\uff4c", "繁體字", "null", "true", "NaN", "-0", "1e400", "../../etc/passwd", "{{7*7}}"),
    *("${jndi:ldap://x}", "'; drop table users; --", "<script>alert(1)</script>", "%00", "\r\nX-Injected: 1"),
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 0.1, -0.0, 1e-320, 1e308, 299.999999999999999),
    *([], {}, [[]], [None], {"": None}, [{"a": [{"b": []}]}]),
    *("2026-11-30T00:00:00Z", "2026-11-30", "9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00Z"),
)
KINDS = ("view", "click", "cart", "purchase", "review")
CODES = {"topic": ("quality", "value", "look", "use"), "emotion": ("warm", "excited", "calm"), "style": ("concise", "detailed")}
DEEP = (b"[" * 100_000, b'{"a":' * 50_000, b'{"items":' + b"[" * 20 + b"]" * 20 + b"}")
VALID_SHARE = 0.45
"""Of the requests, left as they are; what is changed is often valid too."""
LONG = 0.002
"""Of the changes, that make something very long."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as bytes on a wire."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def request(rng: random.Random) -> Asked:
    """One, whatever it is worth."""
    path = rng.choices(("/v1/reasons", "/v1/reasons:verify", "/v1/reasons:warm", "/v1/models", "/v1/nothing"), (80, 8, 8, 2, 2))[0]
    document = verify(rng) if path.endswith("verify") else page(rng)
    valid = rng.random() < VALID_SHARE
    for _ in range(0 if valid else rng.choice((1, 1, 1, 2, 5))):
        document = changed(document, rng)
    body = json.dumps(document, ensure_ascii=rng.random() < 0.2).encode("utf-8", "surrogatepass")
    if not valid and rng.random() < 0.2:
        body = broken(body, rng)
    method = "POST" if valid or rng.random() < 0.97 else rng.choice(("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"))
    query = (
        rng.choice((b"explain=true", b"explain=false", b"explain=" + bytes([rng.randrange(256)]), b"x=1&x=2"))
        if rng.random() < 0.05
        else b""
    )
    return Asked(method, path, query, headers(rng, valid=valid), body)


def page(rng: random.Random) -> dict[str, Any]:
    """A valid page of one to three products, seldom of fifty."""
    asked: dict[str, Any] = {"items": [item(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)) if rng.random() > 0.002 else 50)]}
    if rng.random() < 0.5:
        asked["user"] = user(rng, [one["product"]["product_id"] for one in asked["items"] if "product" in one])
    if rng.random() < 0.3:
        asked["controls"] = codes(rng)
    if rng.random() < 0.1:
        asked["personalise"] = rng.random() < 0.5
    return asked


def item(rng: random.Random) -> dict[str, Any]:
    asked: dict[str, Any] = {"product": product(rng)} if rng.random() < 0.95 else {"product_id": f"p{rng.randrange(100)}"}
    return asked | ({"controls": codes(rng)} if rng.random() < 0.2 else {})


def product(rng: random.Random) -> dict[str, Any]:
    category = rng.choice(CATEGORIES)
    made: dict[str, Any] = {"product_id": f"p{rng.randrange(1000)}", "title": text(rng, 12) + category, "category": category}
    if rng.random() < 0.7:
        made["attributes"] = {text(rng, 6): attribute(rng) for _ in range(rng.randrange(6))}
    if rng.random() < 0.6:
        made |= {"price": rng.choice((299.0, 0, 0.01, round(rng.random() * 1e4, 2), 10**12)), "currency": rng.choice(("CNY", "USD", "JPY"))}
    if rng.random() < 0.3:
        made |= {"rating": round(rng.random() * 5, 1), "rating_count": rng.choice((0, 7, 2**53))}
    if rng.random() < 0.2:
        made |= {"description": text(rng, 200), "image": "https://img.example/1.jpg", "updated_at": "2026-11-01T08:00:00+08:00"}
    return made


def attribute(rng: random.Random) -> Any:
    one = rng.choice((text(rng, 10), rng.randrange(10**6), round(rng.random() * 100, 3)))
    return [one, text(rng, 5)] if rng.random() < 0.1 else one


def user(rng: random.Random, known: Sequence[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"user_id": f"u{rng.randrange(1000)}"}
    if rng.random() < 0.7:
        made["events"] = [
            {
                "kind": kind,
                "product_id": rng.choice([*known, "p7"]),
                "at": f"2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}T12:00:00+08:00",
            }
            | ({"rating": float(rng.randrange(1, 6)), "text": text(rng, 60)} if kind == "review" else {})
            for kind in rng.choices(KINDS, k=rng.randrange(6))
        ]
    return made


def moment(rng: random.Random) -> str:
    return f"2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}T12:00:00+08:00"


def codes(rng: random.Random) -> dict[str, Any]:
    return {name: rng.choice((*values, None)) for name, values in CODES.items() if rng.random() < 0.5}


def verify(rng: random.Random) -> dict[str, Any]:
    """What a caller that kept an answer would send, with nothing in it that we signed."""
    items = [
        {
            "product_id": f"p{rng.randrange(9)}",
            "status": "ok",
            "text": text(rng, 30),
            "source": rng.choice(("model", "cache", "template")),
            "revision": "0" * 16,
        }
        | ({"signature": {"kid": "k", "value": "AA", "expires_at": 1}} if rng.random() < 0.5 else {})
        for _ in range(rng.choice((1, 2)))
    ]
    return {"bundle_id": "b", "policy_version": "p", "items": items}


def text(rng: random.Random, longest: int) -> str:
    """Words, seldom strange ones, never longer than `longest` and never empty."""
    draw = rng.random()
    if draw < 0.8:
        made = "".join(rng.choices(WORDS, k=1 + longest // 8))
    elif draw < 0.9:
        made = rng.choice(STRANGE)
    else:
        made = "".join(
            chr(rng.choice((rng.randrange(32, 0x250), rng.randrange(0x2000, 0xD800), rng.randrange(0xE000, 0x110000))))
            for _ in range(longest)
        )
    return made[:longest] or "好"


def changed(document: Any, rng: random.Random) -> Any:
    """A copy in which one place is something else, is gone, or has company."""
    document = copy.deepcopy(document)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(document)
    if not places or rng.random() < 0.02:
        return odd(rng)
    node, key = rng.choice(places)
    ways: Sequence[Callable[[], None]] = (
        lambda: node.__setitem__(key, odd(rng)),
        lambda: node.__setitem__(key, rng.choice(STRANGE)),
        lambda: node.__delitem__(key),
        lambda: node.__setitem__(key, [node[key]]),
        lambda: node.__setitem__(key, str(node[key])),
        lambda: node.__setitem__(rng.choice(STRANGE), odd(rng)) if isinstance(node, dict) else node.append(odd(rng)),
        lambda: node.__setitem__(key, node[key] * 2 if isinstance(node[key], list | str) else odd(rng)),
    )
    if rng.random() < LONG:
        node[key] = rng.choice(("长" * 6000, ["x"] * 3000, {str(at): at for at in range(3000)}))
    else:
        rng.choice(ways)()
    return document


def odd(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(ODD))


def broken(body: bytes, rng: random.Random) -> bytes:
    """What is no JSON, or not the same."""
    at = rng.randrange(len(body) + 1)
    ways: list[bytes] = [
        body[:at],
        body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :],
        body[:at] + b"\xed\xa0\x80" + body[at:],
        body + b"x",
        b"\xef\xbb\xbf" + body,
        body.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass"),
        body.replace(b'"items"', b'"items":[],"items"'),
        b"",
        *(DEEP if rng.random() < 0.05 else ()),
    ]
    return rng.choice(ways)


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GOOD: Mapping[bytes, Sequence[bytes]] = {
    b"content-type": (b"application/json",),
    b"x-deadline-ms": (b"10000",),
    b"x-request-id": (b"r-1", b"r" * 128),
    b"traceparent": (TRACE,),
    b"accept": (b"*/*", b"application/json", b"application/x-ndjson"),
    b"authorization": (b"Bearer x", b"Basic x"),
}
BAD: Mapping[bytes, Sequence[bytes]] = {
    b"content-type": (*(b"application/json",) * 30, b"application/json; charset=utf-8", b"text/plain", b"application/xml", b"", b"\xff"),
    b"x-deadline-ms": (b"10000", b"60000", b"50", b"0", b"-1", b"1e3", b"9" * 400, b"\xe4\xba\x94", b""),
    b"x-request-id": (b"r-1", b"r" * 5000, b"a\tb", b"\xc3\x28", b""),
    b"traceparent": (b"00-0", b"ff-" + TRACE[3:], b"\xff" * 55),
    b"accept": (*GOOD[b"accept"], b"*", b";q=", b"application/x-ndjson;q=0"),
    b"authorization": (b"Bearer " + b"y" * 3000, b"\x80", b""),
    b"content-length": (b"5", b"99999999999", b"-1", b"abc"),
}
SHARES = {b"content-type": 0.995, b"x-deadline-ms": 0.3, b"x-request-id": 0.2, b"traceparent": 0.1, b"accept": 0.3, b"authorization": 0.05}


def headers(rng: random.Random, *, valid: bool) -> tuple[tuple[bytes, bytes], ...]:
    told, shares = (GOOD, SHARES | {b"content-type": 1.0}) if valid else (BAD, SHARES | {b"content-length": 0.02})
    return tuple((name, rng.choice(told[name])) for name, share in shares.items() if rng.random() < share)
