"""`python -m tests.lab`: the lab's verbs for hands. Exit code 2 and one line when something is wrong."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab import lifecycle, network
from tests.lab.commands import require_machine
from tests.lab.lab import DEFAULT_STATE, Lab
from tests.lab.layout import LabError

Arguments = argparse.Namespace


def _up(arguments: Arguments) -> None:
    require_machine()
    begun = time.monotonic()
    state = arguments.state.resolve()
    already = lifecycle.is_up(state)
    lab = Lab.up(state, number=arguments.instance, flux_interval=arguments.flux_interval)
    if already:
        print("the lab is up already", file=sys.stderr)
    installed = state / "apps-installed"
    if not arguments.bare and not installed.exists():
        from tests.lab.standins.deploy import install  # noqa: PLC0415 - a bare lab does without

        install(lab)
        installed.touch()
    print(lifecycle.summary(lab.layout))
    print(f"took {time.monotonic() - begun:.1f} s", file=sys.stderr)


def _down(arguments: Arguments) -> None:
    print("down" if Lab.take_down(arguments.state) else f"no lab in {arguments.state}", file=sys.stderr)


def _check(_: Arguments) -> None:
    lifecycle.check()


def _status(arguments: Arguments) -> None:
    for name, host in Lab.attach(arguments.state).status().items():
        print(f"{name:8} {host['ip']:15} power {host['power']}, cable {host['cable']}")
        for service, pid in host["services"].items():
            print(f"    {service:26} {pid or 'not running'}")


def _env(arguments: Arguments) -> None:
    lab = Lab.attach(arguments.state)
    print(f"export KUBECONFIG={lab.kubeconfig()} FAILOVERD_LAB_STATE={lab.state} PATH={lab.state / 'bin'}:$PATH")


def _kubectl(arguments: Arguments) -> None:
    lab = Lab.attach(arguments.state)
    program = str(lab.state / "bin" / "kubectl")
    os.execv(program, [program, *arguments.words])


def _enter(arguments: Arguments) -> None:
    lab = Lab.attach(arguments.state)
    host = lab.layout.host(arguments.host)
    words = ["nsenter", f"--net={network.NAMED / host.namespace}", *(arguments.words or ["bash"])]
    os.execvp(words[0], words)


def _on_host(verb: Callable[[Lab, str], None]) -> Callable[[Arguments], None]:
    return lambda arguments: verb(Lab.attach(arguments.state), arguments.host)


def _on_component(verb: Callable[[Lab, str], None]) -> Callable[[Arguments], None]:
    return lambda arguments: verb(Lab.attach(arguments.state), arguments.component)


def _reboot(arguments: Arguments) -> None:
    Lab.attach(arguments.state).reboot(arguments.host, arguments.seconds)


def _stall(arguments: Arguments) -> None:
    Lab.attach(arguments.state).stall_api(arguments.seconds, wait=True)


def _clock(_: Arguments) -> None:
    raise LabError(
        "clock: all hosts share the machine's wall clock, for which Linux has no namespace: shift one process with "
        "Debian's libfaketime (README.md beside this says how), or let an instance's clock jump in the simulator: "
        '`failoverd simulate --fault "fault clock_jump failoverd-0 -30s"`'
    )


def _timeline(arguments: Arguments) -> None:
    lab = Lab.attach(arguments.state)
    lines = lab.timeline()
    for app in sorted({line.app for line in lines}):
        for host, intervals in sorted(lab.writers(app).items()):
            for start, end in intervals:
                clock = [time.strftime("%H:%M:%S", time.localtime(t)) for t in (start, end)]
                print(f"{app:20} {host:8} {clock[0]} - {clock[1]}  {end - start:7.1f} s")
        print(f"{app:20} two writers for {lab.overlap(app):.1f} s")
    if arguments.json:
        print(json.dumps([{"t": line.t, "host": line.host, "app": line.app, "n": line.n} for line in lines]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="the lab's folder (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, act: Callable[[Arguments], None], text: str, *words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, add_help=name != "kubectl")
        command.set_defaults(act=act)
        for word in words:
            command.add_argument(word.lower(), metavar=word, type=float if word == "SECONDS" else str)
        return command

    up = add("up", _up, "bring a lab up, building what is missing")
    up.add_argument("--bare", action="store_true", help="the cluster alone: no stand-ins, no apps")
    up.add_argument("--instance", type=int, help="its number, 0 to 63 (default: after the state folder)")
    up.add_argument("--flux-interval", default="1m", help="how often Flux reconciles (default: %(default)s)")
    add("down", _down, "end it and remove every trace")
    add("check", _check, "have everything a lab needs, building what is missing")
    add("status", _status, "hosts, power, cables, services")
    add("env", _env, "shell lines for its use")
    add("kubectl", _kubectl, "kubectl as admin").add_argument("words", nargs=argparse.REMAINDER)
    enter = add("enter", _enter, "a shell, or a command, in a host's network", "HOST")
    enter.add_argument("words", nargs=argparse.REMAINDER)
    add("power-cut", _on_host(Lab.power_cut), "take a node's power", "HOST")
    add("power-on", _on_host(Lab.power_on), "give it back", "HOST")
    add("reboot", _reboot, "restart a node from inside", "HOST", "SECONDS")
    add("cut", _on_host(Lab.cut), "pull a host's network cable", "HOST")
    add("heal", _on_host(Lab.heal), "put it back", "HOST")
    add("stall-api", _stall, "freeze the API server for a while", "SECONDS")
    add("freeze", _on_component(Lab.freeze), "stop a process where it stands: NAME or NAME@HOST", "COMPONENT")
    add("thaw", _on_component(Lab.thaw), "let it go on", "COMPONENT")
    add("clock", _clock, "refused: says why, and what to do instead", "HOST", "SECONDS")
    timeline = add("timeline", _timeline, "who wrote which app where and when")
    timeline.add_argument("--json", action="store_true", help="every line as well")
    return parser


def main() -> int:
    """Run one verb."""
    parser = _parser()
    arguments, options = parser.parse_known_args()
    if options and arguments.act is not _kubectl:
        parser.error(f"unrecognized arguments: {' '.join(options)}")
    # What stands before kubectl's first word is its own too: `kubectl -n media get pods`.
    arguments.words = options + getattr(arguments, "words", [])
    # Ended from outside, a half-made lab is removed just as it is after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        arguments.act(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"lab: {error.filename}: not allowed: run it as root", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
