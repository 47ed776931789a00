"""Loads a YAML file into a frozen model and says which field is wrong. Knows no field itself: each app's `config.py` holds its own."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from common.errors import ConfigError


class Frozen(BaseModel):
    """A value: immutable, and an unknown key is an error. Every model that crosses a process boundary inherits from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def describe(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """One line a field: where it is, what came, what was expected. `model`: what was read, whose names are suggested for unknown ones."""
    lines = []
    problems = error.errors(include_url=False)
    for problem in problems:
        if follows(problem, problems):
            continue
        where = ".".join(str(part) for part in problem["loc"]) or "(whole document)"
        got = "" if problem["type"] == "missing" else f"; got {_short(problem['input'])}"
        lines.append(f"{where}: {worded(problem, model)}{got}")
    return "\n".join(lines)


def follows(problem: ErrorDetails, problems: Sequence[ErrorDetails]) -> bool:
    """Whether it only repeats that something inside is wrong: pydantic counts a list's valid entries, and calls the list too short."""
    loc = problem["loc"]
    return problem["type"] == "too_short" and any(len(one["loc"]) > len(loc) and one["loc"][: len(loc)] == loc for one in problems)


def worded(problem: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """What is wrong, in words that do not presume Python."""
    if problem["type"] == "extra_forbidden" and model is not None and (names := _names(model, problem["loc"][:-1])):
        near = difflib.get_close_matches(str(problem["loc"][-1]), names, n=1)
        return f"no such field; did you mean {near[0]}?" if near else f"no such field; there are {', '.join(names)}"
    return plain(problem["msg"])


def plain(message: str) -> str:
    """A message of pydantic's without what only Python knows: "Tuple should have at most 50 items after validation, not 51"."""
    if message == "Extra inputs are not permitted":
        return "no such field"
    return re.sub(
        r"^\w+ should have (at \w+ \d+ items?) after validation, not (\d+)$", r"expected \1, got \2", message.removeprefix("Value error, ")
    )


def _names(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Of the fields at `loc`; parts that are no field are places in lists and mappings, or branches of a union."""
    found = [model]
    for part in loc:
        inner = [one.model_fields[part].annotation for one in found if isinstance(part, str) and part in one.model_fields]
        if inner:
            found = [one for annotation in inner for one in _models(annotation)]
    return sorted({name for one in found for name in one.model_fields})


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _short(value: object) -> str:
    told = repr(value)
    return told if len(told) <= 80 else f"{told[:77]}..."


Device = Literal["auto", "cpu", "cuda"]
"""Where a model computes. auto: on the GPU that was reserved, or else on the processor."""


def resolved(device: Device, *, num_gpus: float) -> Literal["cpu", "cuda"]:
    """Raises ValueError where Ray would hide the GPU that is asked for: without a reservation it shows a process none."""
    if device == "cuda" and not num_gpus:
        raise ValueError("device is cuda and no GPU is reserved, so Ray would hide every one of them; reserve some")
    if device == "auto":
        return "cuda" if num_gpus else "cpu"
    return device


def parse(data: object, model: type[Model], *, source: str) -> Model:
    """`data` as a `model`. Raises ConfigError naming `source` and each field that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        described = describe(error, model)
        separator = "\n" if "\n" in described else " "
        raise ConfigError(f"{source}:{separator}{described}") from error


def read_yaml(path: Path | str) -> object:
    """The document in a YAML file; an empty file is an empty mapping. Raises ConfigError with line and column."""
    documents = read_documents(path)
    if len(documents) > 1:
        raise ConfigError(f"{path}: expected one document, got {len(documents)}")
    return documents[0] if documents else {}


def read_documents(path: Path | str) -> list[object]:
    """Those of a YAML file that hold something. Raises ConfigError with line and column."""
    try:
        return parse_documents(Path(path).read_text(encoding="utf-8"), source=str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def parse_documents(text: str, *, source: str) -> list[object]:
    """Raises ConfigError; a key that stands twice in one mapping is an error too."""
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            for line, key in doubled_keys(node):
                raise ConfigError(f"{source}:{line}: {key}: stands twice in one mapping; the first would be lost")
        return [document for document in yaml.safe_load_all(text) if document]
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {_one_line(error)}") from error


def doubled_keys(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Line, from 1, and key of each that stands twice in one mapping: YAML keeps the last in silence."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key.start_mark.line + 1, key.value
                seen.add(key.value)
            yield from doubled_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from doubled_keys(child)


def with_overrides(data: Mapping[str, object], overrides: Sequence[str]) -> dict[str, object]:
    """`data` with dotted `key=value` overrides; values are read as YAML, so `a.b=3` is a number and `a.c=[1, 2]` a list."""
    result = {key: value for key, value in data.items()}
    for override in overrides:
        dotted, separator, text = override.partition("=")
        if not separator or not dotted:
            raise ConfigError(f"override {override!r}: expected key=value, for example sft.learning_rate=2e-4")
        *parents, leaf = dotted.split(".")
        node = result
        for parent in parents:
            child = node.get(parent)
            copied = dict(child) if isinstance(child, Mapping) else {}
            node[parent] = copied
            node = copied
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not YAML: {_one_line(error)}") from error
        node[leaf] = _number(value) if isinstance(value, str) else value
    return result


def merge(data: object, changes: object, *, source: str) -> dict[str, object]:
    """`data` with `changes` in its place where they name a field; mappings are merged, everything else is replaced."""
    if not isinstance(data, Mapping) or not isinstance(changes, Mapping):
        raise ConfigError(f"{source}: expected a mapping, got {type(changes if isinstance(data, Mapping) else data).__name__}")
    merged = dict(data)
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(data.get(name), Mapping)
        merged[name] = merge(data[name], value, source=f"{source}.{name}") if both else value
    return merged


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


def _number(text: str) -> str | float:
    """YAML 1.1 reads 2e-4 as text; people mean the number."""
    try:
        return float(text)
    except ValueError:
        return text


def load_config(path: Path | str, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """The file as a `model`, with `overrides` applied. Raises ConfigError naming file and field; unknown keys are errors."""
    data = read_yaml(path)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}: expected a mapping at the top, got {type(data).__name__}")
    return parse(with_overrides(data, overrides), model, source=str(path))
