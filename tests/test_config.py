"""A configuration is resolved completely: defaults, conventions, environment, secrets."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from failoverd.config.show import MASK, as_toml, shown
from failoverd.core.rules import Failback, Mode, Require, Site, Timings, WorkloadKind
from tests.core.objects import application, helm_release
from tests.test_config_refusals import APP, FENCE, SITES, loaded, refusals


def test_the_smallest_file_gets_the_core_defaults(tmp_path: Path) -> None:
    rules = loaded(tmp_path, SITES + APP).rules
    app = rules.app("media/sonarr")
    assert rules.mode is Mode.OBSERVE
    assert rules.timings == Timings()
    assert (app.require, app.failback, app.kind) == (Require.PROOF, Failback.AUTO, WorkloadKind.DEPLOYMENT)
    assert app.max_data_age == timedelta(minutes=5)
    volume = app.volumes[0]
    assert (volume.primary.claim, volume.primary.source) == ("pvc-sonarr", "sonarr-primary")
    assert (volume.backup.claim, volume.backup.source) == ("pvc-sonarr-backup", "sonarr-backup")
    assert rules.place(app, Site.PRIMARY).selector == (("role", "primary"),)
    assert rules.place(app, Site.BACKUP).domain == "k3s-w2"
    assert rules.witnesses == (("k3s-w1", "pve"), ("k3s-w2", "k3s-w2"))


def test_a_file_from_windows_is_read_like_any_other(tmp_path: Path) -> None:
    text = "\ufeff" + (SITES + APP).replace("\n", "\r\n")
    assert loaded(tmp_path, text).rules == loaded(tmp_path, SITES + APP).rules


def test_every_duration_of_the_core_can_be_set(tmp_path: Path) -> None:
    text = (
        SITES
        + APP
        + """
[failover]
cooldown = "16m"
max_moves = { count = 4, per = "25h" }
proof_after = "11s"
silence_after = "61s"
up_after = "21s"
witness_within = "16s"
failure_threshold = 4
success_threshold = 4
[failback]
stable_for = "11m"
[planned]
drain = "switchover"
patience = "241s"
[timings]
unfit_after = "61s"
tick = "1s"
reading_max_age = "11s"
scan_interval = "11s"
barrier_timeout = "121s"
ready_timeout = "301s"
fence_timeout = "61s"
quiet_for = "61s"
monitor_for = "121s"
save_proofs_every = "31s"
"""
    )
    timings, default = loaded(tmp_path, text).rules.timings, Timings()
    same = [field.name for field in fields(Timings) if getattr(timings, field.name) == getattr(default, field.name)]
    assert same == []


def test_volumes_follow_their_own_conventions_and_may_be_named_by_hand(tmp_path: Path) -> None:
    text = (
        SITES
        + """
[conventions]
volume_source_backup = "{namespace}-{app}-{volume}-b"
[[apps]]
name = "two"
namespace = "media"
volumes = ["config", { name = "films", claim_primary = "films" }]
"""
    )
    config, films = loaded(tmp_path, text).rules.app("media/two").volumes
    assert (config.primary.claim, config.backup.claim) == ("pvc-two-config", "pvc-two-config-backup")
    assert (config.primary.source, config.backup.source) == ("two-config-primary", "media-two-config-b")
    assert (films.primary.claim, films.backup.claim) == ("films", "pvc-two-films-backup")


def test_a_list_of_names_is_the_short_form_of_tables(tmp_path: Path) -> None:
    short = loaded(tmp_path, SITES + APP + 'volumes = ["config"]\n').rules.app("media/sonarr").volumes
    long = loaded(tmp_path, SITES + APP + '[[apps.volumes]]\nname = "config"\n').rules.app("media/sonarr").volumes
    assert short == long
    assert short[0].primary.claim == "pvc-sonarr-config"


def test_an_app_may_differ_from_the_rest(tmp_path: Path) -> None:
    text = (
        SITES
        + """
[[apps]]
name = "db"
namespace = "data"
kind = "StatefulSet"
preferred = "backup"
require = "silence"
max_data_age = "90s"
failback = "manual"
priority = 5
verify_url = "http://db.data/ping"
helm_release = "db"
"""
    )
    app = loaded(tmp_path, text).rules.apps[0]
    assert (app.kind, app.preferred, app.require) == (WorkloadKind.STATEFULSET, Site.BACKUP, Require.SILENCE)
    assert (app.max_data_age, app.failback, app.priority) == (timedelta(seconds=90), Failback.MANUAL, 5)
    assert app.applier == helm_release("data/db")
    elsewhere = text.replace('helm_release = "db"', 'helm_release = "flux-system/db"')
    assert loaded(tmp_path, elsewhere).rules.apps[0].applier == helm_release("flux-system/db")
    for written, name in (("db", "argocd/db"), ("team/db", "team/db")):
        argo = text.replace('helm_release = "db"', f'argo_application = "{written}"')
        assert loaded(tmp_path, argo).rules.apps[0].applier == application(name)


def test_several_pairs_need_apps_to_choose(tmp_path: Path) -> None:
    text = """
[[pairs]]
name = "house"
primary = { node = "w1" }
backup = { node = "w2" }
[[pairs]]
name = "attic"
primary = { node = "w3", domain = "nas" }
backup = { node = "w1" }
[[apps]]
name = "a"
namespace = "n"
pair = "attic"
"""
    rules = loaded(tmp_path, text).rules
    assert rules.place(rules.apps[0], Site.PRIMARY).node == "w3"
    assert rules.nodes == ("w1", "w2", "w3")
    assert refusals(tmp_path, text.replace('pair = "attic"', "")) == [
        'config.toml:10: apps[0].pair: is missing: there are 2 pairs; choose "house" or "attic"'
    ]


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVERD__FAILOVER__COOLDOWN", "20m")
    monkeypatch.setenv("FAILOVERD__INSTANCE__NODE", "k3s-w1")
    monkeypatch.setenv("failoverd__mode", "active")
    rules = loaded(tmp_path, "[failover]\ncooldown = '10m'\nproof_after = '12s'\n" + SITES + APP).rules
    assert rules.timings.cooldown == timedelta(minutes=20)
    assert rules.timings.proof_after == timedelta(seconds=12)
    assert rules.mode is Mode.ACTIVE
    assert rules.own_domain == "pve"


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVERD__FAILOVER__COOLDOWN", "20")
    monkeypatch.setenv("FAILOVERD__FALIOVER__COOLDOWN", "20m")
    monkeypatch.setenv("FAILOVERD__NOTIFY__0__URL", "x")
    assert refusals(tmp_path, SITES + APP) == [
        'FAILOVERD__FALIOVER__COOLDOWN: sets nothing; did you mean "failover"?',
        "FAILOVERD__NOTIFY__0__URL: notify: a list is set as a whole: FAILOVERD__NOTIFY='[{...}]' (JSON);"
        " secrets by *_file",
        'FAILOVERD__FAILOVER__COOLDOWN: failover.cooldown: "20" has no unit; write "20s" for seconds',
    ]


def test_a_variable_that_is_no_json_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVERD__APPS", "[")
    assert refusals(tmp_path, SITES) == ["FAILOVERD__APPS: apps: is not valid JSON"]


def test_secrets_come_from_files_beside_the_configuration_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("failoverd@pve!fence=0-1\n")
    (tmp_path / "url").write_text("https://discord.example/webhooks/1/geheim\n")
    text = (
        SITES
        + APP
        + FENCE.replace('token = "failoverd@pve!fence=0-1"', 'token_file = "token"')
        + """
[[notify]]
type = "discord"
url_file = "url"
[[notify]]
type = "webhook"
url = "https://hook.example/geheim"
secret = "geheim"
level = "warning"
"""
    )
    config = loaded(tmp_path, text)
    assert config.fences["k3s-w1"].token == "failoverd@pve!fence=0-1"
    assert [channel.url for channel in config.channels] == [
        "https://discord.example/webhooks/1/geheim",
        "https://hook.example/geheim",
    ]
    assert config.channels[1].secret == "geheim"
    for said in (repr(config), str(config), as_toml(config)):
        assert "geheim" not in said
        assert "fence=0-1" not in said
    assert shown(config)["notify"][1]["url"] == MASK


def test_the_hash_is_equal_where_instances_may_differ_and_only_there(tmp_path: Path) -> None:
    base = loaded(tmp_path, SITES + APP + FENCE)
    same = loaded(
        tmp_path,
        SITES
        + APP
        + FENCE.replace("0-1", "0-2")
        + '[instance]\nname = "b"\n[web]\nlisten = ""\n[log]\nlevel = "debug"\n',
    )
    other = loaded(tmp_path, SITES + APP + FENCE + '[failover]\ncooldown = "16m"\n')
    assert base.hash == same.hash != other.hash
    assert base.rules.fence_hash == same.rules.fence_hash == other.rules.fence_hash != ""
    moved = loaded(tmp_path, SITES + APP + FENCE.replace("pve/101", "pve/102"))
    assert moved.rules.fence_hash != base.rules.fence_hash


def test_what_is_shown_can_be_loaded_and_means_the_same(tmp_path: Path) -> None:
    text = SITES + APP + '[[apps]]\nname = "two"\nnamespace = "n"\nvolumes = ["a", "b"]\nrequire = "silence"\n'
    config = loaded(tmp_path, text)
    again = loaded(tmp_path, as_toml(config))
    assert again.rules == config.rules


def test_what_is_unwise_is_noted_but_not_refused(tmp_path: Path) -> None:
    notes = [str(note).replace(f"{tmp_path}/", "") for note in loaded(tmp_path, SITES + APP).notes]
    assert notes == [
        "config.toml:7: apps: media/sonarr moves by proof only, but no [[fencing]] is for k3s-w1:"
        ' it can never fail over; add a [[fencing]] for k3s-w1, or set require = "silence", at the price that'
        " docs/fencing.md names"
    ]
    silent = SITES + APP + FENCE + '[failover]\nrequire = "silence"\n'
    assert loaded(tmp_path, silent).notes == ()
    alone = silent + '[instance]\nnode = "k3s-w2"\n'
    assert [note.key for note in loaded(tmp_path, alone).notes] == ["witness"]
    assert loaded(tmp_path, alone + '[[witness]]\nnode = "nas"\n').notes == ()


def test_live_copies_without_guards_are_noted(tmp_path: Path) -> None:
    base = SITES + APP + FENCE + '[failover]\nrequire = "silence"\n'
    guard = "[guard]\nenabled = true\n"
    assert [note.key for note in loaded(tmp_path, base + 'place = "live"\n').notes] == ["failover.place"]
    assert loaded(tmp_path, base + 'place = "live"\n' + guard).notes == ()
    assert loaded(tmp_path, base + 'place = "newest"\n').notes == ()
    own = SITES + APP + 'place = "live"\n' + FENCE + '[failover]\nrequire = "silence"\n'
    assert [note.key for note in loaded(tmp_path, own).notes] == ["apps[0].place"]


def test_a_proof_that_dies_with_the_node_it_is_for_is_noted(tmp_path: Path) -> None:
    def notes(text: str) -> list[str]:
        return [str(note).replace(f"{tmp_path}/", "") for note in loaded(tmp_path, SITES + APP + text).notes]

    docker = '[[fencing]]\nnode = "k3s-w2"\ntype = "docker"\nurl = "unix:///s"\ncontainer = "k3s-w2"\n'
    rest = (
        ', media/sonarr cannot fail over by itself; require = "silence" lets it, at the price that docs/fencing.md'
        ' names, and so does a fence of type "command" that outlives the host'
    )
    assert notes(FENCE + docker) == [
        "config.toml:10: fencing[0]: pve proves the death of k3s-w1, and only while it lives: when it dies with the"
        " node" + rest,
        "config.toml:16: fencing[1]: its Docker host proves the death of k3s-w2, and only while it lives: when it"
        " dies with the node" + rest,
    ]
    assert notes(FENCE + SILENT) == []
    plug = '[[fencing]]\nnode = "k3s-w1"\ntype = "command"\nargv = ["/bin/sh"]\n'
    assert notes(plug) == []


SILENT = '[failover]\nrequire = "silence"\n'


def warned(folder: Path, text: str) -> list[str]:
    return [str(warning).replace(f"{folder}/", "") for warning in loaded(folder, text).warnings]


def test_a_patience_that_outlasts_the_limit_of_the_age_is_warned_of(tmp_path: Path) -> None:
    assert warned(tmp_path, SITES + APP + FENCE) == []
    (said,) = warned(tmp_path, SITES + APP + FENCE + '[failover]\nmax_data_age = "4m"\n')
    assert (
        "planned.patience: waits for 240 s, by when data of media/sonarr may be older than its max_data_age" in said
    )
    assert warned(tmp_path, SITES + APP + '[failover]\nmax_data_age = "4m"\n') == []


def test_a_node_that_apps_leave_by_silence_without_a_fence_is_warned_of(tmp_path: Path) -> None:
    rest = (
        ": a pod there that is only cut off goes on writing to its own copy, and no figure can bound what the live"
        ' copy then lacks; write "proof", or have {0} fenced'
    )
    more = "".join(f'[[apps]]\nname = "{name}"\nnamespace = "media"\n' for name in "abc")
    assert warned(tmp_path, SITES + SILENT + APP + more) == [
        f'config.toml:8: failover.require: "silence" lets media/sonarr, media/a, media/b and 1 more leave {node}'
        f" unproven, and {node} has no fence{rest.format(node)}"
        for node in ("k3s-w1", "k3s-w2")
    ]
    own = APP + 'preferred = "backup"\nrequire = "silence"\n'
    both = FENCE + FENCE.replace("w1", "w2")
    assert warned(tmp_path, SITES + FENCE + own) == [
        'config.toml:17: apps[0].require: "silence" lets media/sonarr leave k3s-w2 unproven, and k3s-w2 has no fence'
        + rest.format("k3s-w2")
    ]
    assert warned(tmp_path, SITES + both + own) == []
    never = "k3s-w1's fence is never used (failover.fence_when)"
    assert never in warned(tmp_path, SITES + SILENT + 'fence_when = "never"\n' + APP + both)[0]
    assert warned(tmp_path, SITES + SILENT + APP.rstrip() + '\nrequire = "proof"\n') == []


def test_an_instance_that_would_die_with_the_home_of_an_app_is_warned_of(tmp_path: Path) -> None:
    text = SITES + FENCE + APP
    assert warned(tmp_path, text + '[instance]\nnode = "k3s-w1"\n') == [
        "config.toml:17: instance.node: this instance runs on k3s-w1, the home of media/sonarr, and dies with it:"
        " another one must run elsewhere, so name the node in the nodeAffinity of deployment.yaml"
    ]
    assert warned(tmp_path, text + '[instance]\nnode = "k3s-w2"\n') == []


def test_hours_are_windows_in_their_zone(tmp_path: Path) -> None:
    text = SITES + APP + '[failback]\nhours = "22:00-02:00, 12:00-24:00"\ntimezone = "Europe/Berlin"\n'
    hours = loaded(tmp_path, text).hours
    summer = [datetime(2026, 7, 1, hour, minute, tzinfo=UTC) for hour, minute in ((9, 59), (10, 0), (23, 59), (0, 0))]
    assert [hours.allow(moment) for moment in summer] == [False, True, True, False]
    assert loaded(tmp_path, SITES + APP).hours.allow(summer[0])


@pytest.mark.parametrize(
    ("written", "found"), [("", ""), ("kured", "kube-system/kured"), ("ops/reboots", "ops/reboots")]
)
def test_kured_is_looked_for_where_its_own_manifests_put_it(tmp_path, written, found):
    assert loaded(tmp_path, SITES + APP + f'[planned]\nkured = "{written}"\n').rules.kured == found
