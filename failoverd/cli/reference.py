"""`docs/cli.md`, made from the parser: `python -m failoverd.cli.reference` writes it to standard output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from failoverd.cli.exits import MEANINGS
from failoverd.cli.parser import Parser, build

HEAD = """\
# Command line

`failoverd COMMAND …`. Everywhere: `--config FILE` (else `$FAILOVERD_CONFIG`, else `/etc/failoverd/config.toml`) and
`--kubeconfig FILE` instead of the configured one. An app is called by its name, or by `namespace/name` where the
name alone would be ambiguous. A failure is one line on standard error.

Commands that change something are written into the cluster, so the cluster's RBAC decides who may (see
`failoverd config rbac`). The leading daemon does them; a command that no leader has taken within two minutes expires
and is never done. Each is meant for the app's present epoch: if the app moves meanwhile, it is refused. The command
waits and shows each phase; Ctrl-C or `--timeout` ends the waiting, not the move.

`failoverd fence test` is the exception: it speaks to the fence from where it runs, with the secrets of the
configuration, and to the cluster only to read. With `--really` it cuts the node's power at once. Ctrl-C then starts
the node again before it ends. Status 1 means that the fence would not work, or did not.

A configuration names files (secrets, certificates, a fence's program, a folder for recordings) that are where the
daemon runs. `run`, `once`, `fence test`, `config check` and `config show` need them, and a missing one is an error.
On a workstation `config check --without-files` and `config show --without-files` check everything else and say which
files they did not look at; the other commands read none of them but the kubeconfig.

## Exit status
"""


def commands(parser: Parser | None = None) -> Iterator[tuple[str, Parser]]:
    """Every command with its parser: `("config show", …)` for one of a group."""
    parser = parser or build()
    for action in parser._actions:  # argparse has no public way to its commands
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                if inner.get_default("command"):
                    yield inner.get_default("command"), inner
                yield from commands(inner)


def markdown() -> str:
    """The text of `docs/cli.md`."""
    lines = [HEAD, "| status | meaning |\n|--:|---|"]
    lines += [f"| {int(status)} | {meaning} |" for status, meaning in MEANINGS.items()]
    for name, parser in commands():
        lines += ["", f"## `failoverd {name}`", "", str(parser.description), ""]
        lines += list(_arguments(parser))
        if parser.epilog:
            lines += ["", "```sh", *(line.strip() for line in parser.epilog.splitlines()[1:]), "```"]
    return "\n".join(lines).rstrip() + "\n"


def _arguments(parser: Parser) -> Iterator[str]:
    own = [action for action in parser._actions if action.dest not in ("help", "config", "kubeconfig")]
    if own:
        yield "| argument | meaning |\n|---|---|"
    for action in own:
        value = "\\|".join(str(choice) for choice in action.choices or ()) or action.metavar
        shown = ", ".join(action.option_strings)
        if action.nargs != 0:
            shown = f"{shown} {value}".strip() if shown else f"[{value}]" if action.nargs == "?" else str(value)
        yield f"| `{shown}` | {action.help} |"


if __name__ == "__main__":
    sys.stdout.write(markdown())
