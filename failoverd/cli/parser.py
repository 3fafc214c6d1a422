"""The command line: every command, its arguments and their help. `docs/cli.md` is made from this file."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from failoverd import __version__
from failoverd.cli.exits import Exit, Stop
from failoverd.config.durations import parse as parse_duration
from failoverd.config.problems import suggestion
from failoverd.core.rules import Site

Handler = Callable[[argparse.Namespace], int]
SITES = "primary|backup"
PASSED_ON = ("demo", "simulate")
"""Commands whose arguments are their own affair."""
LATER = ("approve", "drill")
"""What is planned but absent is refused by name."""


RESTORE = """\
examples:
  failoverd restore sonarr config.xml --at 2026-11-26T15:03:02
  failoverd restore sonarr --point 2026-11-26T15:03:02 --why "bad import"
  failoverd restore sonarr --set 'media/sonarr#4@20261126T150250Z'"""


class Parser(argparse.ArgumentParser):
    """One line for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """Raises Stop."""
        wrong = re.match(r"argument COMMAND: invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            if wrong[1] in LATER:
                raise Stop(Exit.USAGE, f'"{wrong[1]}" is not in this version; see {self.prog} --help')
            known = [name.strip(" '") for name in wrong[2].split(",")]
            message = f'there is no command "{wrong[1]}"{suggestion(wrong[1], known)}'
        link = " See" if message.endswith("?") else "; see"
        raise Stop(Exit.USAGE, f"{message}{link} {self.prog} --help")

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """The arguments, with those that are passed on in `rest`. Raises Stop."""
        arguments, rest = self.parse_known_args(argv)
        given_up = getattr(arguments, "command", "") == "restore" and arguments.path is None
        if given_up and rest and not rest[0].startswith("-"):  # argparse looks for it before the first option alone
            arguments.path = rest.pop(0)
        if rest and getattr(arguments, "command", "") not in PASSED_ON:
            self.error(f"unknown arguments: {' '.join(rest)}")
        arguments.rest = rest
        return arguments


def _site(text: str) -> Site:
    """Raises argparse.ArgumentTypeError."""
    try:
        return Site(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is unknown; choose "primary" or "backup"') from None


def build() -> Parser:
    """The whole parser. Each command's `command` is its name, `config show` for one of a group."""
    parser = Parser(
        prog="failoverd",
        description="Moves Kubernetes apps between two replicated volumes when a node dies, and back.",
    )
    parser.add_argument("--version", action="version", version=f"failoverd {__version__}")
    _common(parser, default=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    _running(commands)
    _looking(commands)
    _acting(commands)
    _fencing(commands)
    _guarding(commands)
    _configuring(commands)
    _simulating(commands)
    _replaying(commands)
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add(commands: Commands[Parser], name: str, text: str) -> Parser:
    """A command; `--config` and `--kubeconfig` may be given before or after its name."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=parser.prog.removeprefix("failoverd "))
    _common(parser, default=argparse.SUPPRESS)
    return parser


def _common(parser: Parser, default: str | None) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=default,
        help="the configuration; else $FAILOVERD_CONFIG, else /etc/failoverd/config.toml",
    )
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        type=Path,
        default=default,
        help="instead of kubernetes.kubeconfig of the configuration",
    )


def _running(commands: Commands[Parser]) -> None:
    run = _add(commands, "run", "run the daemon until it is told to stop")
    run.add_argument(
        "--config-from",
        metavar="SOURCE",
        type=_source,
        help="follow configmap:NAMESPACE/NAME, key config.toml; --config is where a local copy of it is kept",
    )
    once = _add(commands, "once", "look at the world, decide and act once, then exit")
    once.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")
    for parser in (run, once):
        _files(parser)


def _looking(commands: Commands[Parser]) -> None:
    status = _add(commands, "status", "show where every app runs and what its copies are worth")
    status.add_argument("app", nargs="?", metavar="APP", help="this app only: name or namespace/name")
    _output(status)
    why = _add(commands, "why", "explain why an app moves, or why it does not")
    why.add_argument("app", metavar="APP", help="name or namespace/name")
    _output(why)
    for parser in (status, why):
        parser.add_argument("--url", metavar="URL", help="the daemon's web server; else as in web.listen")
    history = _add(commands, "history", "show past moves and holds with their evidence, times and losses")
    history.add_argument("app", nargs="?", metavar="APP", help="of this app only")
    history.add_argument("-n", dest="count", type=_count, default=20, metavar="N", help="the last N (20)")
    _output(history)
    displaced = _add(commands, "displaced", "list the displaced files of an app that are kept, at both sites")
    displaced.add_argument("app", metavar="APP", help="name or namespace/name")
    displaced.add_argument("--volume", metavar="NAME", help="of this volume only")
    displaced.add_argument("--path", metavar="GLOB", help='only paths like it, as in "*.db*" (a * crosses folders)')
    displaced.add_argument("--points", action="store_true", help="the restore points of databases and files as well")
    _output(displaced)


def _acting(commands: Commands[Parser]) -> None:
    switch = _add(commands, "switchover", "move an app to its other site, planned, without losing anything")
    failover = _add(commands, "failover", "force an app away from its site, whatever is lost by that")
    failback = _add(commands, "failback", "move an app to its preferred site, planned")
    release = _add(commands, "release", "give an app up: roles back to sendreceive, holds and marks gone")
    text = "acknowledge the alarms of an app that keep it from moving, as they are shown; 0 where there are none"
    ack = _add(commands, "ack", text)
    restore = _add(
        commands, "restore", "stop an app, bring a displaced file or databases back where it lives, start it"
    )
    restore.epilog, restore.formatter_class = RESTORE, argparse.RawDescriptionHelpFormatter
    for parser in (switch, failover, failback, release, ack, restore):
        parser.add_argument("app", metavar="APP", help="name or namespace/name")
    text = "the file, as `failoverd displaced` shows it; with --point or --set this database alone"
    restore.add_argument("path", nargs="?", metavar="PATH", help=text)
    text = "the databases of all volumes, and files that get points, as of the restore points of then or before (UTC)"
    restore.add_argument("--point", type=_moment, metavar="TIME", help=text)
    text = (
        "the databases that a move displaced: its id (`failoverd history`), or their folder (`failoverd displaced`)"
    )
    restore.add_argument("--set", metavar="NAME", help=text)
    restore.add_argument("--volume", metavar="NAME", help="where an app has several")
    restore.add_argument("--at", type=_moment, metavar="TIME", help="when it was put aside (UTC); else the newest")
    restore.add_argument(
        "--site", type=_site, metavar=SITES, help="where it lies; only what lies at the app is fetched"
    )
    for parser in (switch, failover):
        parser.add_argument("--to", type=_site, metavar=SITES, help="the site it must end on; else the other")
    for parser in (switch, failover, failback, release):
        parser.add_argument("--yes", action="store_true", help="do not ask (planned moves never do)")
    pause = _add(commands, "pause", "begin no moves until resumed")
    resume = _add(commands, "resume", "allow moves again")
    for parser in (pause, resume):
        parser.add_argument("app", nargs="?", metavar="APP", help="of this app only; else of all")
    pause.add_argument("--for", dest="length", type=_duration, metavar="DURATION", help='as in "2h"; else for good')
    kept = {pause: "shown while it stands", ack: "kept in log and Events, and with the alarm while it is seen"}
    for parser in (switch, failover, failback, release, pause, resume, ack, restore):
        where = kept.get(parser, "told in log and Events" if parser in (release, resume) else "kept in the history")
        parser.add_argument("--why", default="", metavar="TEXT", help=f"the reason, {where}")
        parser.add_argument("--no-wait", action="store_true", help="do not wait for it to be done")
        parser.add_argument(
            "--timeout", type=_duration, default=timedelta(minutes=15), metavar="DURATION", help="wait so long (15m)"
        )
    text = "the daemon's web server, asked for what would be lost; else as in web.listen"
    failover.add_argument("--url", metavar="URL", help=text)


def _fencing(commands: Commands[Parser]) -> None:
    fence = commands.add_parser("fence", help="try the fence of a node")
    inner = fence.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    test = _add(inner, "test", "check the fence of a node: reachable, privileges, what would undo it")
    test.add_argument("node", metavar="NODE", help="a node that a [[fencing]] is for")
    test.add_argument("--really", action="store_true", help="cut its power and give it back, after asking")
    test.add_argument("--yes", action="store_true", help="do not ask")
    _files(test)


def _guarding(commands: Commands[Parser]) -> None:
    guard = _add(commands, "guard", "run beside the data: make restore points, prove that they open, place one")
    guard.add_argument("--site", type=_site, metavar=SITES, required=True, help="the site whose copies these are")
    guard.add_argument(
        "--copy",
        action="append",
        required=True,
        metavar="NAMESPACE/CLAIM=FOLDER",
        help="a copy to guard and where it is mounted; as often as there are copies",
    )
    guard.add_argument("--namespace", default="failoverd", metavar="NAME", help="the daemon's namespace (failoverd)")
    guard.add_argument(
        "--scratch", type=Path, default=Path("/scratch"), metavar="FOLDER", help="for private copies (/scratch)"
    )


def _configuring(commands: Commands[Parser]) -> None:
    config = commands.add_parser("config", help="check, show and explain the configuration")
    inner = config.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    check = _add(inner, "check", "check the configuration without contacting anything")
    show = _add(inner, "show", "print the configuration in force, conventions applied, secrets masked")
    show.add_argument("-o", dest="output", choices=["toml", "json"], default="toml", help="format (toml)")
    for parser in (check, show):
        text = "look at none of the files it names (secrets, certificates, …), say which: for where the daemon is not"
        parser.add_argument("--without-files", action="store_true", help=text)
        _files(parser)
    _add(inner, "schema", "print a JSON schema of the configuration file")
    _add(inner, "example", "print a file with every key and its default")
    rbac = _add(inner, "rbac", "print the Roles that the configured apps need, as YAML")
    rbac.add_argument("--user", action="append", default=[], metavar="NAME", help="bind the operator's Role to NAME")
    rbac.add_argument("--guard", action="store_true", help="those of the guards at the disks instead")


def _simulating(commands: Commands[Parser]) -> None:
    for name, text in (
        ("demo", "watch a node die and its app move: simulated cluster, real daemon (--hold leaves it running)"),
        ("simulate", "run scenarios in a simulated world (--help and docs/simulator.md tell of its options)"),
    ):
        parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", add_help=False)
        parser.set_defaults(command=name)


def _replaying(commands: Commands[Parser]) -> None:
    text = "decide again upon what was recorded, by the same rules or, with --config, by others"
    replay = _add(commands, "replay", text)
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings, or folders of them")
    replay.add_argument("--from", dest="since", type=_moment, metavar="TIME", help="as in 2026-01-31T22:15 (UTC)")
    replay.add_argument("--to", dest="until", type=_moment, metavar="TIME", help="nothing after it")
    replay.add_argument("--app", metavar="APP", help="tell of this app and its nodes only")
    text = "what the values of a duration of the configuration would have come to: silence_after=30s..180s"
    replay.add_argument("--sweep", metavar="KEY=A..B", help=text)
    replay.add_argument("--points", type=int, metavar="N", help="values of the range (6)")
    replay.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the sweep")
    _output(replay)


def _files(parser: Parser) -> None:
    text = "look for the files that the *_file keys name in DIR, by the last part of their names"
    parser.add_argument("--files", metavar="DIR", type=Path, help=text)


def _output(parser: Parser) -> None:
    parser.add_argument("-o", dest="output", choices=["table", "json"], default="table", help="format (table)")


def _source(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"configmap:([a-z0-9][-a-z0-9]*)/([a-z0-9][-.a-z0-9]*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is no source; write it as configmap:NAMESPACE/NAME')
    return found[1], found[2]


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is no time; write it as 2026-01-31T22:15') from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number above 0')
    return int(text)
