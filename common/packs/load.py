"""Reads a pack: its files, checked one by one and against each other. A problem is named with file, line and field."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import Field, ValidationError

from common.config import Frozen, doubled_keys, worded
from common.errors import BadControl, ConfigError
from common.packs.knowledge import Knowledge, RequiredWarning
from common.packs.lexicon import Lexicon, LexiconRule
from common.packs.parts import Name
from common.packs.schema import ChannelPack, ControlPack, FactPack, Pack, Piece, Templates, Traits
from common.packs.source import ABOUT, OPTIONAL, PARTS, Files, Folder, files_of, read_part, refuse_strangers, shipped, shipped_names

Loc = tuple[int | str, ...]
Model = TypeVar("Model", bound=Frozen)


class PackFile(Frozen):
    """pack.yaml, for a pack that has another name than its folder or takes some parts of a shipped one as they are."""

    name: Name | None = Field(None, description="of the pack, in bundles and messages; null: its folder's")
    extends: Name | None = Field(None, description="name of a shipped pack, whose file stands for each that is missing here")


def load_pack(source: str | Path) -> Pack:
    """A pack by the name of one that ships here ("shop"), by its folder, or by s3://BUCKET/PREFIX.

    Raises ConfigError naming file, line and field, or StorageUnreachable.
    """
    suggested, files = files_of(source)
    refuse_strangers(files)
    about = _about(files)
    name, ships = about.name or suggested, isinstance(files, Folder) and files.path.resolve() == shipped(suggested).path
    if name in shipped_names() and not ships:
        raise ConfigError(f"{files.label(ABOUT)}: name: got {name!r}, a pack that ships here; write `name:` with another into {ABOUT}")
    read = {part: _part(part, files) for part in parts_of(files)}
    pack = Pack(
        name=name,
        controls=read["controls"].parse(ControlPack),
        facts=read["facts"].parse(FactPack),
        lexicon=read["lexicon"].parse(Lexicon),
        knowledge=read["knowledge"].parse(Knowledge),
        templates=read["templates"].parse(Templates),
        channels=read["channels"].parse(ChannelPack) if "channels" in read else ChannelPack(),
        traits=read["traits"].parse(Traits) if "traits" in read else Traits(),
    )
    problems = [read[part].problem(loc, message) for part, loc, message in _disagreements(pack)]
    if files.read("channels.yaml") is not None:  # those of a pack that this one extends may know other codes
        problems += [read["channels"].problem(loc, message) for loc, message in _unfit_channels(pack)]
    if problems:
        raise ConfigError("\n".join(problems))
    return pack


def under_policy(policy: Pack, *, controls: ControlPack, facts: FactPack) -> Pack:
    """A bundle's own controls and facts under the lexicon, knowledge and templates of a pack. Raises ConfigError where they disagree."""
    pack = policy.model_copy(update={"controls": controls, "facts": facts})
    if problems := [f"{part}: {'.'.join(map(str, loc))}: {message}" for part, loc, message in _disagreements(pack)]:
        listed = "\n".join(problems)
        raise ConfigError(f"pack {policy.name} does not fit the controls and facts that the bundle was trained with:\n{listed}")
    return pack


def beneath(source: str | Path) -> str:
    """The shipped pack that a pack from outside extends; a shipped one itself; shop for one that extends none."""
    return str(source) if str(source) in shipped_names() else _about(files_of(source)[1]).extends or "shop"


def place_of(part: str, files: Files) -> Files:
    """Where a pack's part is: among its own files, or in the shipped pack that it extends, which may extend another."""
    while files.read(f"{part}.yaml") is None and (extends := _about(files).extends):
        if extends not in shipped_names():
            raise ConfigError(f"{files.label(ABOUT)}: extends: got {extends!r}; expected one of {', '.join(shipped_names())}")
        files = shipped(extends)
    return files


def parts_of(files: Files) -> tuple[str, ...]:
    """Those that a pack or one that it extends has: all but some of the optional ones."""
    return (*PARTS, *(part for part in OPTIONAL if place_of(part, files).read(f"{part}.yaml") is not None))


def _about(files: Files) -> PackFile:
    return PackFile() if files.read(ABOUT) is None else _File(files.label(ABOUT), read_part(files, ABOUT)).parse(PackFile)


def _part(part: str, files: Files) -> "_File":
    place, name = place_of(part, files), f"{part}.yaml"
    return _File(place.label(name), read_part(place, name))


class _File:
    """A YAML file with its node tree, which knows the line of every field."""

    def __init__(self, label: str, data: bytes) -> None:
        self.label = label
        try:
            text = data.decode("utf-8")
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)  # libyaml's is eight times as fast, where it is built in
            self.node: yaml.Node | None = loader.get_single_node()
            self.data: object = None if self.node is None else loader.construct_document(self.node)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{label}: not YAML in UTF-8: {error}") from error
        doubled = [f"{label}:{line}: {key}: stands twice in one mapping; the first would be lost" for line, key in doubled_keys(self.node)]
        if doubled:
            raise ConfigError("\n".join(doubled))

    def parse(self, model: type[Model]) -> Model:
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            lines = []
            for fault in error.errors(include_url=False):
                got = "" if fault["type"] in ("missing", "value_error") else f"; got {fault['input']!r:.80}"
                lines.append(self.problem(fault["loc"], f"{worded(fault, model)}{got}"))
            raise ConfigError("\n".join(lines)) from error

    def problem(self, loc: Loc, message: str) -> str:
        field = ".".join(str(part) for part in loc) or "(whole document)"
        return f"{self.label}:{self._line(loc)}: {field}: {message}"

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


def _unfit_channels(pack: Pack) -> Iterator[tuple[Loc, str]]:
    """Defaults that the pack's own controls do not have, or that do not fit into the channel's texts."""
    for name, channel in pack.channels.channels.items():
        for control, value in channel.controls.items():
            loc = ("channels", name, "controls", control)
            try:
                pack.vocabulary.check({control: value})
            except BadControl as error:
                yield loc, str(error)
            if (control, value) in pack.controls.too_long(channel.max_chars):
                yield loc, f"{value} takes {pack.controls.least_chars[control, value]} characters; max_chars is {channel.max_chars}"


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
    rules: set[str] = set()
    for field in ("contradictions", "implications", "checkable"):
        for i, rule in enumerate(getattr(pack.knowledge, field)):
            if rule.id in rules:
                yield "knowledge", (field, i, "id"), f"{rule.id} stands twice; expected an id of its own"
            rules.add(rule.id)
    units = {*facts.units, *pack.knowledge.speech.units}
    for scale, factors in pack.knowledge.speech.scales.items():
        for unit in factors:
            if unit not in units:
                yield "knowledge", ("speech", "scales", scale, unit), "is no unit; expected a key of units, of these or of the facts"
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
