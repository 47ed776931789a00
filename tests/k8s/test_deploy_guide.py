"""docs/deploy.md word by word, as far as that goes without a cluster: its files, options, names and texts are those that there are."""

import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from cluster.cli import COMMANDS, main
from common.contract.wire import ReasonsRequest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("docs/deploy.md", "README.md", "README.zh.md")
MADE_BY_THE_OPERATOR = {
    "liyou-serve-svc": ("rayservice", "liyou"),
    "liyou-head-svc": ("rayservice", "liyou"),
    "liyou-cluster-head-svc": ("raycluster", "liyou-cluster"),
}
"""Services, by what they belong to: their names are of KubeRay's making."""

Render = Callable[[str], list[dict[str, Any]]]


def lines(document: str, program: str) -> list[str]:
    """Its command lines of one program, and those that `kubectl exec` runs in a pod."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    inner = [line.partition(" -- ")[2] for line in blocks if line.startswith("kubectl") and " exec " in line]
    return [line for line in blocks + inner if line.startswith(f"{program} ")]


GUIDE = DOCUMENTS[0]
KUBECTL = sorted({line for document in DOCUMENTS for line in lines(document, "kubectl")})


def applied(render: Render) -> set[tuple[str, str]]:
    return {(one["kind"].lower(), one["metadata"]["name"]) for overlay in ("dev", "gpu") for one in render(overlay)}


def words_of(line: str) -> Iterator[str]:
    """Without the command that `exec` runs in the pod."""
    for word in shlex.split(line):
        if word == "--":
            return
        yield word


def test_every_command_is_one_of_a_program_that_this_test_knows() -> None:
    text = (ROOT / GUIDE).read_text(encoding="utf-8")
    assert "```" not in text, "commands stand in indented blocks, where this test finds them"
    first = {line.split()[0] for line in text.splitlines() if line.startswith("    ")}
    assert first <= {"docker", "helm", "kubectl", "liyou", "printf", "curl"}
    assert len(KUBECTL) >= 20


@pytest.mark.parametrize("line", KUBECTL)
def test_kubectl_has_the_options(line: str, kubectl: str) -> None:
    words = [word for word in words_of(line) if word not in ("-n", "liyou")][1:]
    depth = 3 if words[0] == "create" and words[1] == "secret" else 1
    asked = [kubectl, *words[:depth], "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    told += subprocess.run([kubectl, "options"], capture_output=True, text=True, check=True).stdout
    for word in words[depth:]:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told), f"kubectl {' '.join(words[:depth])} has no {option}"


@pytest.mark.parametrize("line", KUBECTL)
def test_kubectl_asks_for_what_an_overlay_applies(line: str, render: Render) -> None:
    words, there = list(words_of(line)), applied(render)
    if "-k" in words:
        assert (ROOT / words[words.index("-k") + 1] / "kustomization.yaml").is_file(), line
    named = [tuple(word.split("/")) for word in words if re.fullmatch(r"(rayservice|raycluster|rayjob|service)/[\w-]+", word)]
    named += [(kind, name) for kind, name in pairwise(words) if re.fullmatch(r"rayservice|raycluster|rayjob", kind)]
    for kind, name in named:
        if kind == "service":
            assert MADE_BY_THE_OPERATOR[name] in there
        else:
            assert (kind, name) in there, line
    if "patch" in words:
        (kind, name), patch = named[0], json.loads(words[words.index("-p") + 1])
        (manifest,) = (one for one in render("gpu") if (one["kind"].lower(), one["metadata"]["name"]) == (kind, name))
        assert patch == {"spec": {"suspend": not manifest["spec"]["suspend"]}}


def test_namespaces_and_labels_are_those_of_the_network_policies(render: Render) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in render("dev") if one["kind"] == "NetworkPolicy"}
    (operator,) = policies["operator-to-head"]["ingress"][0]["from"]
    (storefront,) = policies["storefront-to-reasons"]["ingress"][0]["from"]
    (helm,) = lines(GUIDE, "helm")
    words = shlex.split(helm)
    assert words[words.index("--namespace") + 1] == operator["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert words[2] == operator["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
    ((label, value),) = storefront["namespaceSelector"]["matchLabels"].items()
    assert any(line.startswith("kubectl label namespace") and line.endswith(f"{label}={value}") for line in KUBECTL)


def test_the_operators_release_is_one_whose_schemas_are_kept(custom_schemas: dict[str, Any]) -> None:
    (helm,) = lines(GUIDE, "helm")
    words = shlex.split(helm)
    assert f"v{words[words.index('--version') + 1]}" in custom_schemas


def test_liyou_has_the_commands_and_options() -> None:
    found = lines(GUIDE, "liyou")
    assert {line.split()[1] for line in found} == {"shop", "data", "jobs", "deploy"}
    for line in found:
        _, name, *words = shlex.split(line)
        assert name in COMMANDS, line
        command: Any = typer.main.get_command(importlib.import_module(f"cluster.commands.{name}").app)
        if hasattr(command, "commands"):
            command = command.commands[words[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
        assert all((ROOT / word).is_file() for word in words if word.startswith("k8s/")), line


def test_the_serve_file_is_in_order_as_the_guide_checks_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = (line for line in lines(GUIDE, "liyou") if line.endswith("--check"))
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match="0"):
        main(shlex.split(line)[1:])
    assert "in order" in capsys.readouterr().out


def test_the_request_is_one_that_is_answered() -> None:
    (line,) = lines(GUIDE, "curl")
    words = shlex.split(line)
    page = ReasonsRequest.model_validate(json.loads(words[words.index("-d") + 1]))
    assert page.items[0].product is not None, "there is no snapshot yet, so the product comes inline"
    assert "localhost:8000/v1/reasons" in words


def test_the_image_is_built_as_the_dockerfile_can() -> None:
    dockerfile = (ROOT / "k8s" / "Dockerfile").read_text(encoding="utf-8")
    built = lines(GUIDE, "docker")
    assert len(built) == 2
    for line in built:
        words = shlex.split(line)
        assert (ROOT / words[words.index("-f") + 1]).is_file()
        assert re.search(rf"^FROM \w+ AS {words[words.index('--target') + 1]}$", dockerfile, re.MULTILINE)
        assert re.search(rf"^ARG .*{words[words.index('--build-arg') + 1].partition('=')[0]}", dockerfile, re.MULTILINE)
