"""Reads a pack's folder: the five files, checked one by one and against each other. A problem is named with file, line and field."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import Field, ValidationError

from common.config import Frozen, load_config
from common.errors import ConfigError
from common.packs.schema import ControlPack, FactPack, Knowledge, Lexicon, LexiconRule, Pack, Piece, RequiredWarning, Templates

Loc = tuple[int | str, ...]
Model = TypeVar("Model", bound=Frozen)


def load_pack(name_or_dir: str | Path) -> Pack:
    """A pack by the name of one that ships here ("shop") or by its folder. Raises ConfigError naming file, line and field."""
    shipped = Path(__file__).parent
    folder = Path(name_or_dir)
    if isinstance(name_or_dir, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name_or_dir):
        folder = shipped / name_or_dir
    if not folder.is_dir():
        known = sorted(path.parent.name for path in shipped.glob("*/controls.yaml"))
        raise ConfigError(
            f"pack {str(name_or_dir)!r}: no such folder; expected one of {', '.join(known)} or the path of a folder with controls.yaml"
        )
    files = {part: _File(path) for part, path in _paths(folder, shipped).items()}
    pack_name = re.sub(r"[^a-z0-9_]", "_", folder.resolve().name.lower())
    pack = Pack(
        name=pack_name if re.match(r"[a-z]", pack_name) else f"pack_{pack_name}"[:32],
        controls=files["controls"].parse(ControlPack),
        facts=files["facts"].parse(FactPack),
        lexicon=files["lexicon"].parse(Lexicon),
        knowledge=files["knowledge"].parse(Knowledge),
        templates=files["templates"].parse(Templates),
    )
    problems = [files[part].problem(loc, message) for part, loc, message in _disagreements(pack)]
    if problems:
        raise ConfigError("\n".join(problems))
    return pack


def _paths(folder: Path, shipped: Path) -> dict[str, Path]:
    """Part -> file. A pack.yaml that says `extends: shop` gives the shipped pack's file for each part that the folder lacks."""
    paths = {part: folder / f"{part}.yaml" for part in ("controls", "facts", "lexicon", "knowledge", "templates")}
    about = folder / "pack.yaml"
    if not about.is_file():
        return paths
    extends = load_config(about, PackFile).extends
    if not (shipped / extends / "controls.yaml").is_file():
        raise ConfigError(f"{about}: extends: got {extends!r}; expected the name of a shipped pack, such as shop")
    return {part: path if path.is_file() else shipped / extends / path.name for part, path in paths.items()}


class PackFile(Frozen):
    """pack.yaml, for a pack that changes some parts of another and takes the rest as they are."""

    extends: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="name of a shipped pack")


class _File:
    """A YAML file with its node tree, which knows the line of every field."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)  # libyaml's is eight times as fast, where it is built in
            self.node: yaml.Node | None = loader.get_single_node()
            self.data: object = None if self.node is None else loader.construct_document(self.node)
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such file; a pack is controls, facts, lexicon, knowledge and templates, each .yaml") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not YAML in UTF-8: {error}") from error
        doubled = [f"{path}:{line}: {key}: stands twice in one mapping; the first would be lost" for line, key in _doubled_keys(self.node)]
        if doubled:
            raise ConfigError("\n".join(doubled))

    def parse(self, model: type[Model]) -> Model:
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            lines = []
            for fault in error.errors(include_url=False):
                got = "" if fault["type"] in ("missing", "value_error") else f"; got {fault['input']!r:.80}"
                lines.append(self.problem(fault["loc"], f"{fault['msg']}{got}"))
            raise ConfigError("\n".join(lines)) from error

    def problem(self, loc: Loc, message: str) -> str:
        field = ".".join(str(part) for part in loc) or "(whole document)"
        return f"{self.path}:{self._line(loc)}: {field}: {message}"

    def _line(self, loc: Loc) -> int:
        """The line, from 1, of the deepest part of `loc` that the file holds."""
        node, line = self.node, 1
        for part in loc:
            if isinstance(node, yaml.MappingNode):
                pair = next(((key, value) for key, value in node.value if str(key.value) == str(part)), None)
                if pair is None:
                    return line
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                return line
        return line


def _doubled_keys(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """YAML keeps the last of two equal keys in silence."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key.start_mark.line + 1, key.value
                seen.add(key.value)
            yield from _doubled_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _doubled_keys(child)


def _disagreements(pack: Pack) -> Iterator[tuple[str, Loc, str]]:
    """File, place and message of what is right by itself and wrong beside the rest."""
    facts = pack.facts
    names: dict[str, str] = {}
    for i, category in enumerate(facts.categories):
        for name in (category.name, *category.aliases):
            if name in names:
                yield "facts", ("categories", i), f"{name!r} already names {names[name]}; expected each name and alias once"
            names[name] = category.name
        for j, attribute in enumerate(category.attributes):
            if attribute.unit and attribute.unit not in facts.units:
                there = ", ".join(facts.units)
                yield "facts", ("categories", i, "attributes", j, "unit"), f"got {attribute.unit!r}; expected a key of units: {there}"
    values = {value for category in facts.categories for attribute in category.attributes for value in attribute.values}
    for value in facts.synonyms:
        if value not in values:
            yield "facts", ("synonyms", value), "is the value of no attribute; expected one, written as there"
    writings: dict[str, str] = {}
    for unit, written in facts.units.items():
        for form in written:
            if writings.setdefault(form, unit) != unit:
                yield "facts", ("units", unit), f"{form!r} already writes {writings[form]}; expected one unit a writing"
    for unit, others in facts.conversions.items():
        for other in (unit, *others):
            if other not in facts.units:
                yield "facts", ("conversions", unit), f"got {other!r}; expected a key of units"
    parents = {"all", *pack.knowledge.taxonomy, *(category.parent for category in facts.categories)}
    pieces = ("history", "topics", "facts", "closings", "last_resort")
    scoped: list[tuple[str, str, tuple[LexiconRule | RequiredWarning | Piece, ...]]] = [
        ("lexicon", "rules", pack.lexicon.rules),
        ("knowledge", "warnings", pack.knowledge.warnings),
        *(("templates", field, getattr(pack.templates, field)) for field in pieces),
    ]
    for file, field, entries in scoped:
        ids: set[str] = set()
        for i, entry in enumerate(entries):
            if entry.id in ids:
                yield file, (field, i, "id"), f"{entry.id} stands twice; expected an id of its own"
            ids.add(entry.id)
            for parent in entry.scope:
                if parent not in parents:
                    yield file, (field, i, "scope"), f"got {parent!r}; expected all or one of {', '.join(sorted(parents - {'all'}))}"
