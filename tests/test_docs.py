"""The documents keep their word: every command in them runs here, in order and as it stands; every link, field and figure is checked.

Read from README.md, README.zh.md and CONTRIBUTING.md: indented blocks of `liyou`, `make`, `curl` and `kubectl` lines, and of files whose
name the paragraph before them says (what kubectl is asked for: tests/k8s). A line of any other kind fails, so a new command needs a test
here before it can be documented.
"""

import importlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
import yaml
from pydantic import BaseModel

from cluster.cli import COMMANDS
from common import errors
from common.contract.problems import CODES_BY_STATUS
from common.contract.wire import MAX_ITEMS, ReasonsRequest
from common.packs.load import load_pack
from common.packs.schema import ChannelPack
from serve_app.config import ServeConfig
from serve_app.graph.features_deployment import checked
from train_app.config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
READMES = ("README.md", "README.zh.md")
PROGRAMS = ("liyou", "make", "curl", "kubectl")
START_S, STOP_S = 300, 60
LONGEST_SECTION = 45

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")


@dataclass(frozen=True, slots=True)
class Block:
    """Indented lines, and the paragraph they follow."""

    told: str
    lines: tuple[str, ...]

    @property
    def commands(self) -> list[str]:
        """Without comments, spaced as a shell reads them; empty for a block that is no commands."""
        found = [line for line in self.lines if line.split()[0] in PROGRAMS]
        return found if len(found) == len(self.lines) else []

    @property
    def file(self) -> str | None:
        """`NAME.csv` or `NAME.yaml` in the paragraph before: this block is that file."""
        named = re.findall(r"`([\w./-]+\.(?:csv|yaml))`", self.told.splitlines()[-1] if self.told else "")
        return named[0] if named and not self.commands else None


def blocks(document: str) -> list[Block]:
    found, told, lines = [], [], []
    for line in [*(ROOT / document).read_text(encoding="utf-8").splitlines(), "end"]:
        if line.startswith("    ") and line.strip():
            lines.append(line.strip())
        elif line.strip():
            if lines:
                found.append(Block("\n".join(told), tuple(lines)))
                told, lines = [], []
            told.append(line)
        elif not lines and told:
            told = told[-1:]
    return found


def commands(document: str) -> list[str]:
    return [shlex.join(shlex.split(line, comments=True)) for block in blocks(document) for line in block.commands]


def written(document: str, program: str) -> list[str]:
    """The lines of one program as they stand, with their globs and comments."""
    return [line for block in blocks(document) for line in block.commands if line.split()[0] == program]


def rows(document: str, *, columns: int) -> list[list[str]]:
    """The rows of all tables with so many columns, headings left out."""
    found = []
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == columns and "`" in cells[0]:
            found.append(cells)
    return found


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("document", [*READMES, "CONTRIBUTING.md"])
def test_every_block_is_commands_a_file_or_a_layout_that_is_tested(document: str) -> None:
    assert "```" not in (ROOT / document).read_text(encoding="utf-8"), "commands stand in indented blocks, where this test finds them"
    for block in blocks(document):
        layout = block.lines[0].startswith("objects/")
        assert block.commands or block.file or layout, f"no part of this test covers {block.lines}"


def test_both_readmes_show_the_same_commands_and_files() -> None:
    english, chinese = READMES
    assert commands(english) == commands(chinese)
    assert [(block.file, block.lines) for block in blocks(english) if block.file] == [
        (block.file, block.lines) for block in blocks(chinese) if block.file
    ]


@pytest.mark.parametrize("document", READMES)
def test_a_section_fits_a_screen(document: str) -> None:
    _, *sections = (ROOT / document).read_text(encoding="utf-8").split("\n## ")
    assert len(sections) == 3
    for section in sections:
        assert len(section.rstrip().splitlines()) <= LONGEST_SECTION, section.splitlines()[0]


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_links_between_documents_resolve(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_path_of_the_architecture_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:common|train_app|serve_app|cluster|tests)/[^`*]*)`", text):
        assert (ROOT / path).exists(), path
    parent = ""
    for indent, folder in re.findall(r"^( {4,6})([a-z_]+)/ ", text, re.MULTILINE):
        parent = folder if len(indent) == 4 else parent
        assert (ROOT / (folder if len(indent) == 4 else f"{parent}/{folder}")).is_dir(), folder


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_make_is_asked_for_targets_that_it_has(document: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for target in sorted(set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE))):
        asked = subprocess.run(["make", "--dry-run", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert asked.returncode == 0, f"{document.name} tells to `make {target}`: {asked.stderr}"


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_commands_and_options_in_prose_exist(document: Path) -> None:
    for span in re.findall(r"`liyou ([a-z][^`]*)`", document.read_text(encoding="utf-8")):
        name, *words = span.split()
        assert name in COMMANDS, f"`liyou {span}`"
        command: Any = typer.main.get_command(importlib.import_module(f"cluster.commands.{name}").app)
        if hasattr(command, "commands") and words:
            assert words[0] in command.commands, f"`liyou {span}`"
            command = command.commands[words[0]]
        known = {option for parameter in getattr(command, "params", ()) for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, f"`liyou {span}`"


@pytest.mark.parametrize("document", READMES)
def test_error_codes_and_statuses_are_those_that_are_sent(document: str) -> None:
    statuses = {kind.code: kind.status for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LiyouError)}
    statuses |= {code: status for status, code in CODES_BY_STATUS.items()}
    told = [row for row in rows(document, columns=3) if re.fullmatch(r"\d{3}(, \d{3})*", row[1])]
    assert len(told) == 7
    for codes, numbers, _ in told:
        expected = [statuses[code] for code in quoted(codes)]
        given = [int(number) for number in numbers.split(",")]
        assert expected == given * (len(expected) // len(given)), codes


@pytest.mark.parametrize("document", READMES)
def test_defaults_are_those_of_the_configurations(document: str) -> None:
    told = [row for row in rows(document, columns=3) if "." in quoted(row[0])[0]]
    assert len(told) == 4
    for fields, values, _ in told:
        for field, value in zip(quoted(fields), values.split(", "), strict=True):
            assert default_of(TrainConfig, field) == float(value), field
    for name, cores in ((quoted(row[0])[0], row[1]) for row in rows(document, columns=3) if row[1] in ("0.1", "0.3", "1.0")):
        assert getattr(ServeConfig(), name).resources.num_cpus == float(cores), name
    text, http = (ROOT / document).read_text(encoding="utf-8"), ServeConfig().http
    for figure in (http.deadline.min_ms, http.deadline.default_ms, http.deadline.max_ms, MAX_ITEMS, ServeConfig().generator.slots):
        assert f"{figure}" in text
    assert http.max_body_bytes == 1_000_000
    for field in ("num_workers", "checkpoint_every", "max_failures"):
        default = default_of(TrainConfig, f"runtime.{field}")
        assert re.search(rf"`runtime\.{field}`[^`]*?[(（]{default}[)）]", text), field


def default_of(model: type[BaseModel], dotted: str) -> object:
    first, _, rest = dotted.partition(".")
    value = model.model_fields[first].default
    return getattr(value, rest) if rest else value


def served(line: str) -> bool:
    return line.startswith("liyou serve")


def test_the_pages_in_prose_are_pages_and_the_channels_are_those_of_the_shop() -> None:
    pack = load_pack("shop")
    for line in written("docs/pages.md", "curl"):
        body = shlex.split(line)[shlex.split(line).index("-d") + 1]
        checked(ReasonsRequest.model_validate_json(body), pack)
    told = {quoted(row[0])[0]: row[1:] for row in rows("docs/pages.md", columns=4) if quoted(row[0])[0] in pack.channels.channels}
    assert told == {
        name: [
            f"`{', '.join(f'{control}: {value}' for control, value in channel.controls.items())}`",
            f"{channel.max_chars}",
            channel.query,
        ]
        for name, channel in pack.channels.channels.items()
    }


def test_the_channels_in_prose_are_part_of_a_pack() -> None:
    (block,) = (part for part in (ROOT / "docs" / "packs.md").read_text(encoding="utf-8").split("\n\n") if part.startswith("    channels:"))
    assert ChannelPack.model_validate(yaml.safe_load(block)).channels["till"].max_chars == 40


@dataclass(frozen=True, slots=True)
class Workplace:
    """A folder in which a reader of README.md sits, as the repository's root is one."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "PYTHONUTF8": "1", "RAY_USAGE_STATS_ENABLED": "0"}

    def run(self, line: str) -> str:
        begun = time.monotonic()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        print(f"{time.monotonic() - begun:6.1f} s  {line}")
        return done.stdout

    @contextmanager
    def serving(self, line: str) -> Iterator[str]:
        """The documented line and a free port. Stopped by its own pid, and has to say that it ended well."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = self.folder / "serve.log"
        words = [*shlex.split(line, comments=True), "--port", str(port)]
        with (
            log.open("w") as err,
            subprocess.Popen(
                words, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=err, text=True, start_new_session=True
            ) as process,
        ):
            patience = threading.Timer(START_S, os.killpg, (process.pid, signal.SIGKILL))
            patience.start()
            try:
                assert process.stdout is not None
                said = next((words for words in process.stdout if words.startswith("serving ")), None)
                patience.cancel()
                assert said, f"{line}\nended with {process.wait(STOP_S)}\n{log.read_text()}"
                yield f"http://127.0.0.1:{port}"
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_S) == 0, log.read_text()
            finally:
                patience.cancel()
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """After every `liyou` line of README.md that ends by itself, in their order."""
    place = Workplace(tmp_path_factory.mktemp("workplace"))
    (place.folder / "common").symlink_to(ROOT / "common")
    for block in blocks("README.md"):
        if block.file:
            (place.folder / block.file).parent.mkdir(exist_ok=True)
            (place.folder / block.file).write_text("\n".join(block.lines) + "\n", encoding="utf-8")
    for line in written("README.md", "liyou"):
        if not served(line):
            place.run(line)
    return place


def asked(line: str, url: str) -> httpx2.Response:
    """The request that a documented curl line makes, sent to `url`."""
    words = iter(shlex.split(line, comments=True)[1:])
    target, headers, body = "", {}, None
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(":")
            headers[name] = value.strip()
        elif word == "-d":
            body = next(words)
        elif word not in ("-s", "-sN"):
            target = word
    assert target.startswith("localhost:8000/"), line
    with httpx2.Client(timeout=60) as client:
        address = url + target.removeprefix("localhost:8000")
        return client.post(address, content=body.encode(), headers=headers) if body else client.get(address)


@pytest.mark.ray
def test_the_ml_engineers_session_leaves_what_is_told(workplace: Workplace) -> None:
    (bundle,) = (workplace.folder / "runs" / "bundles").glob("lb-*")
    (run,) = (workplace.folder / "runs" / "runs").glob("*")
    assert (bundle / "report" / "index.html").is_file()
    assert (run / "metrics.jsonl").is_file()
    assert list((run / "tensorboard").iterdir())
    assert (workplace.folder / "evaluation.html").is_file()
    moves = sorted((workplace.folder / "registry" / "aliases" / "prod").glob("*.json"))
    assert [json.loads(move.read_text())["kind"] for move in moves] == ["promote", "promote", "rollback"]
    assert json.loads(moves[-1].read_text())["version"] == bundle.name
    assert yaml.safe_load(workplace.run("liyou data show mine-snapshot --product a1 --json"))["attributes"] == [
        {"key": "品牌", "value": "云朵"}
    ]


@pytest.mark.ray
@pytest.mark.parametrize("document", READMES)
def test_a_registry_lies_as_it_is_drawn(workplace: Workplace, document: str) -> None:
    (layout,) = (block for block in blocks(document) if block.lines[0].startswith("objects/"))
    assert len(layout.lines) == 4
    for line in layout.lines:
        pattern = line.split()[0].replace("SHA256", "*").replace("ID", "*").rstrip("/")
        assert list((workplace.folder / "registry").glob(pattern)), line


@pytest.mark.ray
def test_the_storefronts_requests_get_the_documented_answers(workplace: Workplace) -> None:
    storefront, *_ = (line for line in written("README.md", "liyou") if served(line))
    fields = {name for row in rows("README.md", columns=2) for name in quoted(row[0])}
    assert {"text", "source", "verdict", "evidence", "aigc", "degraded"} <= fields
    with workplace.serving(storefront) as url:
        pages = []
        for line in written("README.md", "curl"):
            answer = asked(line, url)
            assert answer.status_code == 200, f"{line}\n{answer.text}"
            if "/v1/reasons" in line:
                pages.append(answer.json())
        known, inline, nobody = pages
        for page in pages:
            assert {"request_id", "bundle_id", "policy_version", "degraded"} <= set(page)
            for item in page["items"]:
                check_item(item, fields)
        assert [item["product_id"] for item in known["items"]] == ["p000000", "p000001"]
        assert [item["controls"]["style"] for item in known["items"]] == ["concise", "concise"]
        assert known["items"][1]["controls"]["topic"] == "value"
        assert [item["product_id"] for item in inline["items"] + nobody["items"]] == ["a1", "p000000"]
        explained, line, constrained = written("docs/pages.md", "curl")
        (item,) = asked(explained, url).json()["items"]
        check_item(item, fields)
        assert (item["source"] == "template") or [one["control"] for one in item["attribution"]] == list(item["controls"])
        (item,) = asked(constrained, url).json()["items"]
        check_item(item, fields)
        assert item["controls"]["style"] == "concise"
        assert item["verdict"]["checks"]["must_avoid"]["passed"]
        *lines, end = [json.loads(told) for told in asked(line, url).text.splitlines()]
        assert sorted(told["index"] for told in lines) == [0, 1]
        assert end["end"]["num_items"] == 2
        for told in lines:
            assert told["item"]["status"] == "ok"
        page = {"items": [{"product_id": "nowhere"}, {"product_id": "p000000"}]}
        unknown, shown = httpx2.post(f"{url}/v1/reasons", json=page, timeout=60).json()["items"]
        assert (unknown["error"]["code"], unknown["error"]["retryable"], shown["status"]) == ("product_not_found", False, "ok")
        page["items"].pop()
        problem = httpx2.post(f"{url}/v1/reasons", json=page, timeout=60)
        assert (problem.status_code, problem.json()["code"]) == (404, "product_not_found")
        refused = httpx2.post(f"{url}/v1/reasons", json={"items": [{"product_id": "p000000"}] * 51}, timeout=60)
        assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
        assert {"code", "detail", "errors", "request_id", "retryable"} <= set(refused.json())


def check_item(item: dict[str, Any], fields: set[str]) -> None:
    assert fields <= set(item)
    assert item["status"] == "ok", item
    assert item["source"] in ("cache", "model", "template")
    assert (item["source"] == "template") == (item["degraded"] is not None)
    assert (item["verdict"]["score"] is None) == (item["source"] == "template")
    assert item["verdict"]["accepted"]
    assert item["verdict"]["checks"]
    assert item["aigc"]["label"] == (0 if item["source"] == "template" else 1)
    assert {"display", "producer", "produce_id"} <= set(item["aigc"])
    assert item["text"]
    assert "\n" not in item["text"]
    for entry in item["evidence"]:
        start, end = entry["span"]
        assert item["text"][start:end] == entry["text"]
        assert entry["source"].split(".")[0] in ("product", "user")


@pytest.mark.ray
def test_the_storefront_page_needs_nothing_but_its_command(tmp_path: Path) -> None:
    (line,) = written("docs/storefront.md", "liyou")
    with Workplace(tmp_path).serving(line) as url, httpx2.Client(base_url=url, timeout=60, follow_redirects=True) as browser:
        page = browser.get("/")
        assert (page.status_code, page.url.path) == (200, "/demo/")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        (first, *_) = browser.get("/demo/products", params={"q": "耳机"}).json()["products"]
        (known, *_) = browser.get("/demo/shop").json()["users"]
        body = {"user": {"user_id": known["user_id"]}, "items": [{"product_id": first["product_id"]}]}
        answer = browser.post("/v1/reasons", json=body).json()
        assert answer["items"][0]["status"] == "ok"
        assert browser.post("/v1/reasons:verify", json=answer).json()["items"][0]["valid"]


@pytest.mark.ray
def test_what_was_trained_and_promoted_is_served(workplace: Workplace) -> None:
    _, *rest = (line for line in written("README.md", "liyou") if served(line))
    assert len(rest) == 1, "each further way to serve needs a test of its own"
    (bundle,) = (workplace.folder / "runs" / "bundles").glob("lb-*")
    with workplace.serving(rest[0]) as url:
        assert httpx2.get(f"{url}/v1/models", timeout=60).json()["models"][0]["bundle_id"] == bundle.name
        page = httpx2.post(f"{url}/v1/reasons", json={"items": [{"product_id": "p000000"}]}, timeout=60).json()
        assert page["items"][0]["status"] == "ok"
