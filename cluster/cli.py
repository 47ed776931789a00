"""The command `liyou`: finds the command and turns errors into exit codes. Each noun lives in `commands/` and is imported when called."""

import importlib
import sys

from common.errors import BadInput, LiyouError, NotFound

# Module under cluster.commands -> one line of help. Importing only the one that is called keeps `liyou --help` free of torch and ray.
COMMANDS = {
    "demo": "From nothing to three served pages in ten minutes: shop, training, evaluation, promotion, serving.",
    "shop": "Simulate a shop: catalogue, people, behaviour and annotated reasons.",
    "base": "Base models: fetch the real one, trim a vocabulary, bring one to a bucket.",
    "pack": "A business domain as data: begin a pack of your own, check it.",
    "lexicon": "What may not be said: check it, publish it to all that serve, roll back.",
    "data": "Raw tables: import, build a snapshot, show it, forget a user.",
    "train": "Train a bundle: SFT, discriminator, adversarial rounds, filtering, selection.",
    "tune": "Search weightings and other fields of a training; the winner becomes a bundle.",
    "study": "Compare ways to train, arms x seeds, with intervals: does the discriminator earn its place?",
    "evaluate": "Measure a bundle on products that training never saw.",
    "jobs": "Trainings, studies and evaluations on a cluster: submit, list, logs, stop.",
    "bundle": "Bundles in a registry: list, show, verify, promote, rollback, diff.",
    "serve": "Serve a bundle on this machine over HTTP.",
    "warm": "Have pages written and kept before anybody asks for them.",
    "bench": "Send pages as a storefront does, at their own times; was a promise kept?",
    "audit": "The record of what was shown: verify, show, prune.",
    "takedown": "What must not be shown any more: begin, add, lift, list; every replica follows at once.",
    "keys": "The key that reasons are signed with; check a saved answer.",
    "deploy": "Check a Serve config file strictly, deploy it to a cluster, wait until it runs.",
}

HELP = """usage: liyou COMMAND [ARGUMENTS]; `liyou COMMAND --help` explains one

Liyou explains a shop's recommendations.

{commands}

exit codes: 0 done, 1 failed, 2 wrong usage or wrong input"""


def help_text() -> str:
    return HELP.format(commands="\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items()))


def main(arguments: list[str] | None = None) -> None:
    """Entry point. What the caller can mend is one line on stderr and exit code 2; what only time or we can mend, 1."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help"):
        print(help_text())
        return
    name, *rest = words
    if name not in COMMANDS:
        sys.stderr.write(f"liyou: unknown command {name!r}; there are {', '.join(COMMANDS)}\n")
        sys.exit(2)
    try:
        importlib.import_module(f"cluster.commands.{name}").app(rest, prog_name=f"liyou {name}")
    except LiyouError as error:
        sys.stderr.write(f"liyou {name}: {error.code}: {error}\n")
        sys.exit(2 if isinstance(error, BadInput | NotFound) else 1)


if __name__ == "__main__":
    main()
