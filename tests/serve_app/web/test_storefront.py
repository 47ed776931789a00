"""The page over HTTP, without a browser: where it is, how it is kept, what it may do, and what it refuses."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import httpx2
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from serve_app.config import DoorsConfig, ServeConfig
from serve_app.graph.ingress import Ingress
from serve_app.http.api import create_api
from serve_app.http.doors import open_doors
from serve_app.http.openapi import document
from serve_app.http.traffic import Traffic
from serve_app.telemetry.stages import OFF


@pytest.fixture
def client(shop: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=shop.url) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/demo"])
def test_the_way_to_the_page_is_shown(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["location"], answer.headers["cache-control"]) == (307, "demo/", "no-store")


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("", "text/html"), ("main.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
def test_each_file_may_run_nothing_that_it_did_not_bring_and_is_asked_for_again(client: httpx2.Client, name: str, media_type: str) -> None:
    answer = client.get(f"/demo/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == media_type
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'self'", "'none'", "'none'")
    assert not {part for part in policy if part.startswith(("script-src", "style-src"))}, "nothing may be wider than default-src"
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-cache")
    again = client.get(f"/demo/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/demo/{name}", headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize("path", ["/demo/storefront.py", "/demo/..%2Fconfig.py", "/demo/nothing.js", "/demo/shelf", "/demo/a/b"])
def test_nothing_but_the_page_is_given_out(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_products_and_users_are_listed_and_not_kept(client: httpx2.Client) -> None:
    found = client.get("/demo/products", params={"q": "跑鞋"})
    assert [product["title"] for product in found.json()["products"]] == ["轻云跑鞋"]
    shop = client.get("/demo/shop")
    assert shop.json()["users"][0]["user_id"] == "u-much"
    assert "style" in [control["name"] for control in shop.json()["vocabulary"]["controls"]]
    assert {found.headers["cache-control"], shop.headers["cache-control"]} == {"no-store"}


@pytest.mark.parametrize(
    "query", [{"q": "x" * 81}, {"offset": "-1"}, {"offset": "1e3"}, {"offset": "10001"}, {"offset": "٣"}, {"offset": ""}]
)
def test_a_listing_out_of_bounds_is_a_problem_that_says_so(client: httpx2.Client, query: dict[str, str]) -> None:
    answer = client.get("/demo/products", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")
    assert answer.json()["detail"].startswith(next(iter(query)))


@pytest.mark.parametrize("path", ["/demo/products", "/demo/shop"])
def test_where_keys_are_asked_for_nobody_else_sees_products_or_users(guarded_shop: Any, path: str) -> None:
    url, key = guarded_shop
    assert httpx2.get(url + path).status_code == 401
    assert httpx2.get(url + path, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert httpx2.get(url + "/demo/").status_code == 200, "the page itself asks for the key"


def test_without_demo_there_is_no_page(shop: Any) -> None:
    async def unasked(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError

    with TestClient(create_api(unasked, ready=unasked, models=unasked)) as plain:
        assert {plain.get(path).status_code for path in ("/", "/demo/", "/demo/shop", "/demo/products")} == {404}
    assert not [path for path in document(shop.app())["paths"] if "demo" in path], "the page's own paths are nobody's contract"


@pytest.mark.parametrize(("demo", "status"), [(False, 404), (True, 200)])
def test_a_replica_gives_it_out_only_where_the_configuration_says_so(shop: Any, demo: bool, status: int) -> None:
    ingress = Ingress.__new__(Ingress)
    ingress.config = ServeConfig(demo=demo, snapshot=str(shop.snapshot.path))
    ingress.page = SimpleNamespace(live=shop.live)  # type: ignore[assignment]
    ingress.keys, ingress.doors = shop.keys, open_doors(DoorsConfig())
    ingress.telemetry, ingress.traffic = OFF, Traffic()
    client = TestClient(ingress.__serve_build_asgi_app__())
    assert {client.get(path).status_code for path in ("/demo/", "/demo/shop", "/demo/products")} == {status}


def test_a_page_with_nothing_to_show_is_refused_before_it_is_served() -> None:
    assert ServeConfig().demo is False
    with pytest.raises(ValidationError, match="demo is on and snapshot is not set"):
        ServeConfig(demo=True)
