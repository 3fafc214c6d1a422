"""What can be asked of an instance over HTTP, on real sockets."""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from failoverd import __version__
from failoverd.adapters.web import Board, Server
from failoverd.adapters.web.status import moved
from failoverd.core.model import Api, Instance, NodeObject, NodeReading, Unknown
from failoverd.core.rules import Site
from failoverd.core.say import rto
from tests.adapters.board import (
    APP,
    NO_IMAGE,
    NO_ROOM,
    NOT_CLEAN,
    TOO_OLD,
    HandClock,
    board,
    decision,
    finished,
    later,
    memory,
    snapshot,
)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def shown(clock: HandClock) -> Board:
    return board(clock)


@pytest.fixture
async def http(shown: Board) -> AsyncIterator[httpx.AsyncClient]:
    server = Server(shown, "127.0.0.1:0")
    await server.start()
    host, port = server.address
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
        yield client
    await server.close()


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(http: httpx.AsyncClient) -> Samples:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"failoverd_{name}", tuple(sorted(labels.items()))))


async def test_healthz_says_when_the_loop_turned_and_fails_when_it_is_stuck(
    http: httpx.AsyncClient, shown: Board, clock: HandClock
) -> None:
    assert (await http.get("/healthz")).status_code == 200
    clock.mono += timedelta(seconds=31)
    never = await http.get("/healthz")
    assert (never.status_code, never.text) == (503, "the loop has not turned since the start, 31.0 s ago: stuck\n")
    shown.show(decision(), snapshot(), clock.now())
    clock.mono += timedelta(seconds=29)
    assert (await http.get("/healthz")).text == "the loop turned 29.0 s ago\n"
    clock.mono += timedelta(seconds=2)
    assert (await http.get("/healthz")).status_code == 503


async def test_readyz_wants_a_complete_snapshot_and_names_what_is_missing(
    http: httpx.AsyncClient, shown: Board, clock: HandClock
) -> None:
    assert (await http.get("/readyz")).status_code == 503
    whole = snapshot()
    unread = replace(
        whole,
        api=Unknown("timeout after 5 s"),
        nodes={**whole.nodes, "k3s-w2": NodeReading(lease=Unknown("403"), node=NodeObject(ready="True"))},
        workloads={},
        claims={**whole.claims, (APP, "config", Site.BACKUP): Unknown("no such claim")},
    )
    shown.show(decision(), unread, clock.now())
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.text.splitlines()[1:] == [
        "API server: timeout after 5 s",
        "node k3s-w2 lease: 403",
        "media/sonarr: not read",
        "media/sonarr claim pvc-config-backup: no such claim",
    ]
    shown.show(decision(), whole, clock.now())
    assert (await http.get("/readyz")).text == "ready\n"


async def test_nothing_can_be_changed(http: httpx.AsyncClient) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/", "/status", "/metrics", "/healthz", "/readyz"):
            assert (await http.request(method, path)).status_code == 405
    assert (await http.get("/nowhere")).status_code == 404


async def test_metrics_are_there_before_the_first_tick(http: httpx.AsyncClient) -> None:
    samples = await scrape(http)
    assert value(samples, "build_info", version=__version__, python=platform.python_version()) == 1
    assert value(samples, "leader") == 0
    assert value(samples, "ready") == 0
    assert value(samples, "moves_total", kind="failover", outcome="done") == 0
    assert ("process_resident_memory_bytes", ()) in samples


async def test_metrics_follow_the_last_decision(http: httpx.AsyncClient, shown: Board, clock: HandClock) -> None:
    shown.show(decision(), snapshot(), clock.now())
    clock.mono += timedelta(seconds=3)
    samples = await scrape(http)
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], float | None] = {}

    def expect(number: float | None, name: str, **labels: str) -> None:
        expected[name, tuple(labels.items())] = number

    expect(1, "config_info", mode="active", hash="c0ffee")
    expect(3, "loop_age_seconds")
    expect(0.25, "loop_late_seconds")
    expect(1, "leader")
    expect(1, "app_phase", app=APP, phase="watching")
    expect(0, "app_phase", app=APP, phase="fencing")
    expect(1, "app_wanted", app=APP, kind="failover")
    expect(0, "app_wanted", app=APP, kind="failback")
    expect(1, "app_objections", app=APP, why="data too old")
    expect(1, "app_objections", app=APP, why="standing not clean")
    expect(None, "app_objections", app=APP, why="cooldown")
    expect(1, "app_alarms", app=APP, why="source errors")
    expect(1, "app_active", app=APP, site="backup", node="k3s-w2")
    expect(4, "app_epoch", app=APP)
    expect(1, "app_paused", app=APP)
    expect(340, "volume_data_age_seconds", app=APP, volume="config")
    expect(None, "volume_data_age_seconds", app=APP, volume="media")
    expect(1, "volume_data_age_known", app=APP, volume="config", mode="active")
    expect(0, "volume_data_age_known", app=APP, volume="media", mode="active")
    expect(300, "app_data_age_limit_seconds", app=APP)
    expect(1, "copy_standing", app=APP, volume="config", site="primary", standing="outdated")
    expect(1, "node_verdict", node="k3s-w1", verdict="UP")
    expect(1, "node_verdict", node="k3s-w2", verdict="UNKNOWN")
    expect(0, "node_verdict", node="k3s-w2", verdict="DOWN")
    expect(0, "node_proven_dead", node="k3s-w2")
    expect(31, "node_silent_seconds", node="k3s-w2")
    expect(1, "node_objections", node="k3s-w2", why="not proven dead")
    for part, seconds in rto(finished()).items():
        expect(seconds, "last_move_seconds", app=APP, part=part)
    expect(later(12).timestamp(), "last_move_began_timestamp_seconds", app=APP, kind="failover")
    expect(3, "notify_sent_total", channel="ops")
    expect(7, "notify_failures_total", channel="ops")
    expect(1, "notify_dropped_total", channel="ops")
    expect(2, "notify_queued", channel="ops")
    expect(1, "notify_broken", channel="ops")
    found = {key: value(samples, key[0], **dict(key[1])) for key in expected}
    assert found == expected


async def test_every_metric_is_documented_and_every_documented_metric_exists(
    http: httpx.AsyncClient, shown: Board, clock: HandClock
) -> None:
    shown.show(decision(), snapshot(), clock.now())
    served = {name for name, _ in await scrape(http) if name.startswith("failoverd_")}
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    documented = {line.split("`")[1].split("{")[0] for line in text.splitlines() if line.startswith("| `failoverd_")}
    assert documented == served


async def test_a_move_is_counted_once_by_the_leader_that_saw_it_through(
    http: httpx.AsyncClient, shown: Board, clock: HandClock
) -> None:
    moving = finished(id="mv-2", outcome="")
    ended = finished(id="mv-2", outcome="aborted: barrier not reached in 120 s")
    before = decision(memory=memory(move=moving))
    after = decision(memory=memory(moves=(finished(), ended)))
    for tick in (before, after, after):
        shown.show(tick, snapshot(), clock.now())
    samples = await scrape(http)
    assert value(samples, "moves_total", kind="failover", outcome="aborted") == 1
    assert value(samples, "moves_total", kind="failover", outcome="done") == 0
    follower = replace(snapshot(), instance=Instance(leader=False))
    for tick in (before, after):
        shown.show(tick, follower, clock.now())
    assert value(await scrape(http), "moves_total", kind="failover", outcome="aborted") == 1


async def test_the_shape_of_status_is_a_promise(http: httpx.AsyncClient, shown: Board, clock: HandClock) -> None:
    shown.show(decision(), snapshot(), clock.now())
    answer = await http.get("/status")
    assert answer.headers["Content-Type"].startswith("application/json")
    got = answer.json()
    assert got["instance"]["version"] == __version__
    got["instance"]["version"] = "the version"
    assert got["apps"][APP]["moves"][0].pop("parts") == rto(finished())
    assert got == json.loads((Path(__file__).parent / "status.json").read_text())


async def test_status_answers_before_the_first_tick(http: httpx.AsyncClient) -> None:
    status = (await http.get("/status")).json()
    assert status["at"] is None
    assert status["instance"]["ready"] is False
    assert status["apps"][APP]["phase"] is None
    assert status["nodes"]["k3s-w1"]["verdict"] == "UNKNOWN"
    assert (await http.get("/")).status_code == 200


def test_the_parts_of_a_move_add_up_to_what_people_waited() -> None:
    shown = moved(finished())
    assert shown["seconds"] == sum(rto(finished()).values()) == 18


class Reader(HTMLParser):
    """Collects the text and every address a browser would load by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "img", "link", "iframe", "object"}:
            self.loads.append(tag)
        self.loads += [str(url) for name, url in attrs if name == "src"]


async def test_the_page_says_the_same_words_and_loads_nothing(
    http: httpx.AsyncClient, shown: Board, clock: HandClock
) -> None:
    shown.show(decision(), snapshot(), clock.now())
    answer = await http.get("/")
    page = Reader()
    page.feed(answer.text)
    text = " ".join(page.words)
    for words in (
        APP,
        TOO_OLD.text,
        NOT_CLEAN.text,
        NO_ROOM.text,
        NO_IMAGE.text,
        "not ready",
        "k3s-w2 is not provably dead: no fence",
        "lease silent for 31 s",
    ):
        assert words in text
    assert "paused by ada" in text
    assert "<outdated>" not in answer.text
    assert page.loads == []
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert 'http-equiv="refresh"' in answer.text


async def test_a_failing_request_is_one_line_and_the_server_lives(http: httpx.AsyncClient, shown: Board) -> None:
    hashed = shown.config_hash
    shown.config_hash = _broken
    answer = await http.get("/status")
    assert (answer.status_code, answer.text) == (500, "failed: see the log of this instance\n")
    shown.config_hash = hashed
    assert (await http.get("/status")).status_code == 200


async def test_a_taken_port_is_one_clear_error(shown: Board) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"^web.listen: cannot listen on 127.0.0.1:{port}: Address already"):
            await Server(shown, f"127.0.0.1:{port}").start()


def _broken() -> str:
    raise RuntimeError("no hash")


async def test_a_pause_is_shown_while_it_is_in_force_and_not_a_second_longer(
    shown: Board, clock: HandClock, http: httpx.AsyncClient
) -> None:
    for at, paused in ((later(3599), True), (later(3600), False)):
        shown.show(decision(), snapshot(api=Api(date=at)), clock.now())
        status = (await http.get("/status")).json()["apps"][APP]
        assert (status["paused"] is not None) is paused
        assert ("paused by ada" in (await http.get("/")).text) is paused
        assert value(await scrape(http), "app_paused", app=APP) == float(paused)


async def test_a_pause_of_everything_is_one_of_every_app(
    shown: Board, clock: HandClock, http: httpx.AsyncClient
) -> None:
    pauses = {"*": next(iter(decision().memory.pauses.values()))}
    everything = replace(decision(), memory=replace(decision().memory, pauses=pauses))
    shown.show(everything, snapshot(api=Api(date=later(1))), clock.now())
    status = (await http.get("/status")).json()
    assert status["instance"]["paused"]["by"] == status["apps"][APP]["paused"]["by"] == "ada"
