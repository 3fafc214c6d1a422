"""The command hook: real programs, and everything that is not the contract is Unknown or a FenceError."""

from __future__ import annotations

import asyncio
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.adapters.fencing import command, process
from failoverd.adapters.fencing.command import Command
from failoverd.clock import SystemClock
from failoverd.core.model import Guest, GuestState
from tests.adapters.fences import refusal, why

# A hook as an operator would write one: the file `power` is the machine.
GOOD = """\
case "$1" in
  state) echo "{\\"state\\": \\"$(cat power)\\"}" ;;
  off) echo stopped > power ;;
  on) echo running > power ;;
  *) exit 64 ;;
esac
"""
# Before it tells the state: half a second after `off` the power falls.
LATE = (
    "if [ -e asked ] && [ $(($(date +%s%N) - $(date -r asked +%s%N))) -gt 500000000 ]; then echo stopped > power; fi;"
)
Write = Callable[..., Command]


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Write]:
    """Writes a shell script that runs in `tmp_path`, and makes it a fence."""
    (tmp_path / "power").write_text("running\n")

    def write(body: str, *arguments: str, timeout: float = 5) -> Command:
        path = tmp_path / "hook"
        path.write_text(f"#!/bin/sh\ncd {tmp_path} || exit 99\n{body}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return Command([str(path), *arguments], "k3s-w2", timedelta(seconds=timeout), SystemClock())

    yield write
    for file in tmp_path.glob("*.pid"):
        assert gone(int(file.read_text())), f"{file.stem} was left behind"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "OFF_WITHIN", timedelta(seconds=1))
    monkeypatch.setattr(command, "POLL", timedelta(milliseconds=50))


def gone(pid: int) -> bool:
    """Whether a killed process ends: the kernel takes a moment for it. The machine may reap it when it likes."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> list[str]:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


async def test_a_good_hook_tells_the_state_and_switches(hook, tmp_path):
    fence = hook(GOOD)
    assert await fence.check() == ()
    assert await fence.state() == Guest(state=GuestState.RUNNING)
    assert await fence.off() == "k3s-w2 by hook is stopped"
    assert await fence.state() == Guest(state=GuestState.STOPPED)
    assert await fence.off() == "k3s-w2 by hook was stopped already"
    assert await fence.on() == "k3s-w2 by hook is running"
    assert await fence.on() == "k3s-w2 by hook was running already"


async def test_its_own_arguments_come_first_and_no_shell_reads_them(hook, tmp_path):
    fence = hook('printf "%s\\n" "$@" > said; echo "{\\"state\\": \\"running\\"}"', "--outlet=3", "$(touch pwned); *")
    assert isinstance(await fence.state(), Guest)
    assert (tmp_path / "said").read_text().splitlines() == ["--outlet=3", "$(touch pwned); *", "state", "k3s-w2"]
    assert not (tmp_path / "pwned").exists()


async def test_the_environment_holds_nothing_of_ours(hook, tmp_path, monkeypatch):
    monkeypatch.setenv("FAILOVERD__FENCING", "geheim")
    monkeypatch.setenv("KUBECONFIG", "geheim")
    fence = hook('env > environment; echo "{\\"state\\": \\"running\\"}"')
    assert isinstance(await fence.state(), Guest)
    text = (tmp_path / "environment").read_text()
    names = {line.partition("=")[0] for line in text.splitlines()}
    assert "geheim" not in text
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LANG", "HOME", "FAILOVERD_NODE", "FAILOVERD_VERB"}


async def test_busy_and_managed_are_passed_on(hook):
    fence = hook("""echo '{"state": "running", "busy": "reboot by jane", "managed": "a watchdog"}'""")
    assert await fence.state() == Guest(state=GuestState.RUNNING, busy="reboot by jane", managed="a watchdog")
    assert await fence.check() == ("k3s-w2 by hook: a watchdog",)
    assert "off refused: a watchdog" in await refusal(fence.off())


@pytest.mark.parametrize(
    "line",
    [
        "", "stopped", '"stopped"', "null", "[]", "1", "{", "{'state': 'stopped'}", '["stopped"]', "[" * 9000,
        '{"state": "stopped"} x', '{"state": "stopped"}\n{"state": "stopped"}', '{\n"state": "stopped"}',
        'checking ...\n{"state": "stopped"}', '{"state": "running", "state": "stopped"}',
    ],
)  # fmt: skip
async def test_what_is_not_one_line_of_json_is_unknown(hook, tmp_path, line):
    (tmp_path / "line").write_text(line)
    assert "is not one line of JSON" in await why(hook("cat line"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"state": "Stopped"}', "state is 'Stopped', neither running nor stopped"),
        ('{"state": "off"}', "state is 'off'"),
        ('{"state": ""}', "state is ''"),
        ('{"state": null}', "state is 'None'"),
        ('{"state": ["stopped"]}', "neither running nor stopped"),
        ('{"busy": ""}', "state is 'None'"),
        ("{}", "state is 'None'"),
        ('{"state": "stopped", "bussy": "x"}', "unknown key 'bussy'; known are state, busy, managed"),
        ('{"state": "stopped", "busy": true}', "'busy' is not text"),
        ('{"state": "stopped", "busy": null}', "'busy' is not text"),
        ('{"state": "stopped", "managed": 0}', "'managed' is not text"),
    ],
)
async def test_json_that_is_not_the_contract_is_unknown(hook, tmp_path, line, says):
    (tmp_path / "line").write_text(line)
    assert says in await why(hook("cat line"))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('echo "{\\"state\\": \\"stopped\\"}"; exit 1', "state: exit status 1"),
        ('echo one >&2; printf "\\n the\\tplug\\033[0m\\n\\n" >&2; exit 3', "exit status 3: the plug [0m"),
        ('echo "{\\"state\\": \\"stopped\\"}"; kill -SEGV $$', "ended by SIGSEGV"),
        ('echo "{\\"state\\": \\"stopped\\"}"; kill -9 $$', "ended by SIGKILL"),
        ("printf '\\377\\376'", "is not one line of JSON"),
        ('printf "{\\"state\\": \\"stopped\\", \\"busy\\": \\""; head -c 70000 /dev/zero | tr "\\0" x; echo "\\"}"',
         "is not one line of JSON"),
    ],
    ids=["exit 1", "stderr", "SEGV", "KILL", "bytes", "too much"],
)  # fmt: skip
async def test_a_call_that_ends_badly_is_unknown_whatever_it_printed(hook, body, says):
    assert says in await why(hook(body))


async def test_endless_output_is_neither_kept_nor_waited_for(hook):
    fence = hook("echo $$ > leader.pid; yes stopped", timeout=0.5)
    assert "no end within 0.5 s" in await why(fence)


@pytest.mark.parametrize("broken", ["missing", "not executable", "no interpreter", "a folder"])
async def test_a_program_that_cannot_be_started_is_unknown(tmp_path, broken):
    path = tmp_path / "hook"
    if broken == "a folder":
        path.mkdir()
    elif broken != "missing":
        path.write_text("#!/nonexistent\n")
        path.chmod(0o755 if broken == "no interpreter" else 0o644)
    fence = Command([str(path)], "k3s-w2", timedelta(seconds=1), SystemClock())
    assert "state: cannot be started: " in await why(fence)
    assert "cannot be started" in await refusal(fence.off())
    assert len(await fence.check()) == 1


async def test_a_call_that_hangs_is_unknown_in_time_with_its_last_words_and_killed(hook):
    fence = hook(
        "trap '' TERM; echo $$ > leader.pid; echo waiting for the BMC >&2; sleep 60 & echo $! > child.pid; wait",
        timeout=0.5,
    )
    began = time.monotonic()
    assert await why(fence) == "k3s-w2 by hook: state: no end within 0.5 s: waiting for the BMC"
    assert time.monotonic() - began < 2


async def test_children_left_behind_are_killed_and_their_open_pipe_delays_nothing(hook):
    fence = hook('sleep 60 & echo $! > child.pid; echo "{\\"state\\": \\"running\\"}"')
    began = time.monotonic()
    assert await fence.state() == Guest(state=GuestState.RUNNING)
    assert time.monotonic() - began < 3


async def test_a_call_that_is_given_up_is_killed(hook, tmp_path):
    fence = hook("echo $$ > leader.pid; sleep 60 & echo $! > child.pid; wait", timeout=50)
    asking = asyncio.create_task(fence.state())
    async with asyncio.timeout(5):
        while not any(path.read_text() for path in tmp_path.glob("child.pid")):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(gone, int((tmp_path / "leader.pid").read_text()))


async def test_nothing_stays_open_and_nothing_stays_a_zombie(hook):
    fence = hook(GOOD)
    await fence.state()
    before = opened(), children()
    for _ in range(5):
        await fence.state()
    assert (opened(), children()) == before
    assert process._unreaped == []


async def test_off_that_says_done_and_did_nothing_is_a_failure(hook, impatient):
    fence = hook(GOOD.replace("off) echo stopped > power ;;", "off) ;;"), timeout=0.4)
    assert await refusal(fence.off()) == "k3s-w2 by hook: off: not confirmed in time; k3s-w2 by hook is running"


async def test_off_waits_for_a_power_that_falls_late(hook, monkeypatch):
    monkeypatch.setattr(command, "POLL", timedelta(milliseconds=100))
    body = GOOD.replace("off) echo stopped > power ;;", "off) touch asked ;;")
    fence = hook(body.replace("state)", f"state) {LATE}"))
    assert await fence.off() == "k3s-w2 by hook is stopped"


async def test_off_that_fails_names_why_and_how_it_is_now(hook):
    fence = hook(GOOD.replace("off) echo stopped > power ;;", "off) echo no route to the plug >&2; exit 7 ;;"))
    assert await refusal(fence.off()) == (
        "k3s-w2 by hook: off: exit status 7: no route to the plug; k3s-w2 by hook is running"
    )


async def test_off_that_fails_after_the_cut_is_still_a_cut(hook):
    fence = hook(GOOD.replace("off) echo stopped > power ;;", "off) echo stopped > power; exit 7 ;;"))
    assert await fence.off() == "k3s-w2 by hook is stopped, though off failed: exit status 7"


async def test_off_that_hangs_is_a_failure_unless_it_is_off(hook):
    fence = hook(GOOD.replace("off) echo stopped > power ;;", "off) sleep 60 ;;"), timeout=0.5)
    assert "off: no end within 0.5 s; k3s-w2 by hook is running" in await refusal(fence.off())


async def test_off_is_not_tried_where_nothing_could_confirm_it(hook, tmp_path):
    fence = hook('[ "$1" = state ] && exit 1; touch "$1"')
    assert "off was not tried, for nothing could confirm it" in await refusal(fence.off())
    assert not (tmp_path / "off").exists()


async def test_an_unknown_state_after_off_is_never_a_success(hook, tmp_path, impatient):
    fence = hook(GOOD.replace("off) echo stopped > power ;;", "off) echo garbage > power ;;"), timeout=0.4)
    assert "state is 'garbage'" in await refusal(fence.off())


def test_a_signal_without_a_name_is_told_by_number():
    ended = process.Ended(status=-(signal.SIGRTMIN + 3), out=b"", err=b"", cut=False)
    assert ended.how == f"ended by signal {signal.SIGRTMIN + 3}"
