"""/metrics, computed at scrape time from the board: no gauge to forget to reset. See docs/metrics.md."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import datetime
from itertools import product

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from failoverd import __version__
from failoverd.adapters.web.status import Board
from failoverd.core.memory import Kind, Phase
from failoverd.core.model import Decision, Health, Snapshot
from failoverd.core.rules import Rules
from failoverd.core.say import rto

OUTCOMES = ("done", "aborted", "failed")


def registry(board: Board) -> CollectorRegistry:
    """A registry of our own: nothing that a library registers globally gets in."""
    fresh = CollectorRegistry()
    fresh.register(BoardCollector(board))
    ProcessCollector(registry=fresh)
    return fresh


class BoardCollector(Collector):
    """Turns the board into metrics."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask for values before the first tick."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics of this moment."""
        board, rules = self._board, self._board.rules()
        yield from _instance(board, rules)
        yield from _moves(board)
        yield from _channels(board)
        if board.decision is not None and board.snapshot is not None:
            yield from _loop(board.snapshot)
            yield from _nodes(board.decision)
            yield _planned(board.snapshot)
            yield from _apps(rules, board.decision, board.date)
            yield from _standbys(board.decision)
            yield from _volumes(rules, board.decision)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"failoverd_{name}", text, labels=labels)


def _instance(board: Board, rules: Rules) -> Iterator[Metric]:
    build = InfoMetricFamily("failoverd_build", "What is running.")
    build.add_metric([], {"version": __version__, "python": platform.python_version()})
    config = InfoMetricFamily("failoverd_config", "Mode and fingerprint of the configuration in force.")
    config.add_metric([], {"mode": rules.mode, "hash": board.config_hash()})
    age = _gauge("loop_age_seconds", "Time since the loop last turned.")
    age.add_metric([], board.quiet_for().total_seconds())
    ready = _gauge("ready", "1 when the last snapshot was complete.")
    ready.add_metric([], board.ready()[0])
    leader = _gauge("leader", "1 while this instance may act.")
    leader.add_metric([], bool(board.snapshot and board.snapshot.instance.leader))
    yield from (build, config, age, ready, leader)


def _loop(snapshot: Snapshot) -> Iterator[Metric]:
    late = _gauge("loop_late_seconds", "How much later than asked the loop last woke up.")
    late.add_metric([], snapshot.instance.late.total_seconds())
    yield late


def _moves(board: Board) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "failoverd_moves", "Moves this instance saw through as leader.", labels=("kind", "outcome")
    )
    for kind, how in product(Kind, OUTCOMES):
        ended.add_metric([kind, how], board.moves[kind, how])
    yield ended


def _channels(board: Board) -> Iterator[Metric]:
    sent = CounterMetricFamily("failoverd_notify_sent", "Chat messages delivered.", labels=("channel",))
    failed = CounterMetricFamily(
        "failoverd_notify_failures", "Attempts to deliver that failed, retries included.", labels=("channel",)
    )
    dropped = CounterMetricFamily(
        "failoverd_notify_dropped", "Lines that will never be delivered.", labels=("channel",)
    )
    queued = _gauge("notify_queued", "Incidents with something to deliver.", "channel")
    broken = _gauge("notify_broken", "1 while the last attempt failed.", "channel")
    for tally in board.tallies():
        sent.add_metric([tally.name], tally.sent)
        failed.add_metric([tally.name], tally.failed)
        dropped.add_metric([tally.name], tally.dropped)
        queued.add_metric([tally.name], tally.queued)
        broken.add_metric([tally.name], tally.broken)
    yield from (sent, failed, dropped, queued, broken)


def _nodes(decision: Decision) -> Iterator[Metric]:
    health = _gauge("node_verdict", "1 for the verdict that stands.", "node", "verdict")
    proven = _gauge("node_proven_dead", "1 when the node is provably dead.", "node")
    isolated = _gauge("node_isolated", "1 when it is cut off but alive.", "node")
    silent = _gauge("node_silent_seconds", "How long its lease has been silent.", "node")
    doubted = _gauge("node_objections", "1 for every reason why its death is not certain.", "node", "why")
    for node, verdict in decision.verdicts.items():
        for each in Health:
            health.add_metric([node, each], verdict.health is each)
        proven.add_metric([node], verdict.proven)
        isolated.add_metric([node], verdict.isolated)
        silent.add_metric([node], verdict.silent_for.total_seconds())
        for why in dict.fromkeys(objection.why for objection in verdict.objections):
            doubted.add_metric([node, why], 1)
    yield from (health, proven, isolated, silent, doubted)


def _planned(snapshot: Snapshot) -> Metric:
    planned = _gauge(
        "node_planned_work", "1 while the node is cordoned, drained, about to reboot or deleted.", "node"
    )
    for node, reading in snapshot.nodes.items():
        planned.add_metric([node], bool(reading.work))
    return planned


def _apps(rules: Rules, decision: Decision, date: datetime) -> Iterator[Metric]:
    phase = _gauge("app_phase", "1 for the phase the app is in.", "app", "phase")
    wanted = _gauge("app_wanted", "1 for the move that the situation calls for.", "app", "kind")
    objections = _gauge("app_objections", "1 for every reason why that move is not made.", "app", "why")
    alarms = _gauge("app_alarms", "1 for everything that is wrong though nothing needs to move.", "app", "why")
    active = _gauge("app_active", "1 for the site the app runs at.", "app", "site", "node")
    epoch = _gauge("app_epoch", "Number of the app's last move.", "app")
    paused = _gauge("app_paused", "1 while moves of the app are paused, by name or with all others.", "app")
    took = _gauge("last_move_seconds", "How long each part of the app's last finished move took.", "app", "part")
    ended = _gauge("last_move_began_timestamp_seconds", "When that move began.", "app", "kind")
    pauses = decision.memory.pauses_at(date)
    for app in rules.apps:
        decided, memory = decision.apps.get(app.key), decision.memory.apps.get(app.key)
        paused.add_metric([app.key], bool({app.key, "*"} & set(pauses)))
        if decided is not None:
            for each in Phase:
                phase.add_metric([app.key, each], decided.phase is each)
            for kind in Kind:
                wanted.add_metric([app.key, kind], decided.wanted is kind)
            for why in dict.fromkeys(objection.why for objection in decided.objections):
                objections.add_metric([app.key, why], 1)
            for why in dict.fromkeys(alarm.why for alarm in decided.alarms):
                alarms.add_metric([app.key, why], 1)
        if memory is not None:
            active.add_metric([app.key, memory.active, rules.place(app, memory.active).node], 1)
            epoch.add_metric([app.key], memory.epoch)
            for move in memory.moves[-1:]:
                ended.add_metric([app.key, move.kind], move.began_at.timestamp())
                for part, seconds in rto(move).items():
                    took.add_metric([app.key, part], seconds)
    yield from (phase, wanted, objections, alarms, active, epoch, paused, took, ended)


def _standbys(decision: Decision) -> Iterator[Metric]:
    ready = _gauge("app_standby_ready", "1 when the other side could take over now; absent while not judged.", "app")
    missing = _gauge(
        "app_standby_missing", "1 for every reason why the other side could not take over.", "app", "why"
    )
    warned = _gauge("app_standby_warnings", "1 for what would slow it down, or is not known.", "app", "why")
    for key, decided in decision.apps.items():
        if decided.standby is not None:
            ready.add_metric([key], not decided.standby.missing)
            for gauge, found in ((missing, decided.standby.missing), (warned, decided.standby.warnings)):
                for why in dict.fromkeys(one.why for one in found):
                    gauge.add_metric([key, why], 1)
    yield from (ready, missing, warned)


def _volumes(rules: Rules, decision: Decision) -> Iterator[Metric]:
    age = _gauge("volume_data_age_seconds", "What a failover now could lose; absent while unknown.", "app", "volume")
    # by mode: in observe nothing is scanned and the age is never known, of which nobody need be woken
    known = _gauge("volume_data_age_known", "0 while the data age is unknown.", "app", "volume", "mode")
    limit = _gauge("app_data_age_limit_seconds", "The age above which nothing is promoted.", "app")
    standing = _gauge("copy_standing", "1 for the standing of the copy.", "app", "volume", "site", "standing")
    for app in rules.apps:
        limit.add_metric([app.key], app.max_data_age.total_seconds())
        decided, memory = decision.apps.get(app.key), decision.memory.apps.get(app.key)
        for volume in app.volumes:
            value = decided.ages.get(volume.name) if decided else None
            known.add_metric([app.key, volume.name, rules.mode], value is not None)
            if value is not None:
                age.add_metric([app.key, volume.name], value.total_seconds())
            kept = memory.volumes.get(volume.name) if memory else None
            for site, copy in (kept.copies if kept else {}).items():
                standing.add_metric([app.key, volume.name, site, copy.standing], 1)
    yield from (age, known, limit, standing)
