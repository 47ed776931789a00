"""`liyou pack`: begin a pack of one's own outside the package, and check it as training and serving will."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from common.errors import BadInput, ConfigError
from common.packs.load import load_pack, parts_of, place_of
from common.packs.source import ABOUT, files_of, read_part, shipped, shipped_names
from common.quality.rehearsal import broken_examples

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

BEGINNING = """# A pack of your own. Parts that are not in this folder are {extends}'s; put a file of your own beside this one to change
# one: controls.yaml, facts.yaml, lexicon.yaml, knowledge.yaml, templates.yaml, channels.yaml, traits.yaml. A part is replaced as a whole.
# `liyou pack check FOLDER` names what is wrong with file, line and field.
name: {name}
extends: {extends}
"""


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="is made; may exist if it is empty")],
    extends: Annotated[str, typer.Option(help=f"the shipped pack to begin from: {', '.join(shipped_names())}")] = "shop",
    part: Annotated[list[str] | None, typer.Option(help="copy this part of it, to be changed; may be given several times")] = None,
) -> None:
    """Begin a pack: a pack.yaml that takes everything from a shipped one, and copies of the parts that will be changed."""
    if extends not in shipped_names():
        raise BadInput(f"--extends: got {extends!r}; expected one of {', '.join(shipped_names())}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is not an empty folder; name another, nothing is overwritten")
    begun = shipped(extends)
    parts = parts_of(begun)
    if unknown := sorted(set(part or ()) - set(parts)):
        raise BadInput(f"--part: got {', '.join(unknown)}; expected some of {', '.join(parts)}")
    copies = {f"{name}.yaml": read_part(place_of(name, begun), f"{name}.yaml") for name in part or ()}
    folder.mkdir(parents=True, exist_ok=True)
    name = folder.resolve().name.lower().replace("-", "_")
    (folder / ABOUT).write_text(BEGINNING.format(name=name, extends=extends), encoding="utf-8")
    for file, data in copies.items():
        (folder / file).write_bytes(data)
    load_pack(folder)
    print(f"{folder}: {', '.join([ABOUT, *copies])}; change it, then `liyou pack check {folder}`")


@app.command()
def check(
    source: Annotated[str, typer.Argument(help="a shipped pack's name, a folder, or s3://BUCKET/PREFIX")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Read a pack as training and serving will, run its rules' own examples, and say what it holds. Exit code 2: one line for each thing
    that is wrong."""
    pack = load_pack(source)
    if broken := list(broken_examples(pack)):
        raise ConfigError("\n".join(f"{source}: {one}" for one in broken))
    _, files = files_of(source)
    facts = {
        "name": pack.name,
        "parts": {part: [place_of(part, files).label(f"{part}.yaml")] for part in parts_of(files)},
        "digest": pack.digest,
        "policy_version": pack.policy_version,
        "controls": {control.name: [value.name for value in control.values] for control in pack.vocabulary.controls},
        "channels": {name: [f"query {channel.query}"] for name, channel in pack.channels.channels.items()},
        "categories": len(pack.facts.categories),
        "attributes": sum(len(category.attributes) for category in pack.facts.categories),
        "lexicon_rules": len(pack.lexicon.rules),
        "warnings": len(pack.knowledge.warnings),
        "contradictions": len(pack.knowledge.contradictions),
        "implications": len(pack.knowledge.implications),
        "checkable_words": sum(len(kind.words) for kind in pack.knowledge.checkable),
        "traits": {trait: list(values) for trait, values in pack.traits.traits.items()},
        "template_pieces": sum(len(getattr(pack.templates, kind)) for kind in ("history", "topics", "facts", "closings", "last_resort")),
    }
    if as_json:
        print(orjson.dumps(facts).decode())
        return
    for name, value in facts.items():
        told = "; ".join(f"{one}: {', '.join(values)}" for one, values in value.items()) if isinstance(value, dict) else value
        print(f"{name.replace('_', ' '):<16}{told}")
