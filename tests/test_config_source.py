"""A configuration is loaded again when it changes; a bad one is reported and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from failoverd.config import Config, ConfigError, ConfigSource, load

TEXT = """\
[sites.primary]
node = "w1"
[sites.backup]
node = "w2"
[[apps]]
name = "a"
namespace = "b"
[[notify]]
type = "slack"
url_file = "url"
"""


@pytest.fixture
def source(tmp_path: Path) -> ConfigSource:
    (tmp_path / "url").write_text("https://one.example")
    (tmp_path / "config.toml").write_text(TEXT)
    return ConfigSource(tmp_path / "config.toml")


def test_a_bad_file_at_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        ConfigSource(tmp_path / "none.toml")


def test_nothing_happens_while_nothing_changes(source: ConfigSource) -> None:
    before = source.config
    assert source.poll() is None
    assert source.reload().changed == ()
    assert source.config.rules == before.rules


def test_a_change_is_loaded_and_says_which_tables_changed(source: ConfigSource) -> None:
    source.path.write_text(TEXT + '[failover]\ncooldown = "20m"\n[log]\nlevel = "debug"\n')
    found = source.poll()
    assert found is not None
    assert (found.changed, found.problems) == (("failover", "log"), ())
    assert source.config.rules.timings.cooldown.total_seconds() == 1200
    assert source.poll() is None


@pytest.mark.parametrize(
    ("name", "text"), [("config.toml", TEXT + '[log]\nlevel = "debug"\n'), ("url", "https://two.example")]
)
def test_what_changes_while_it_is_read_is_seen_by_the_next_poll(
    source: ConfigSource, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    changed: list[int] = []

    def interrupted(path: Path, *, files_in: Path | None = None) -> Config:
        found = load(path, files_in=files_in)
        if not changed:
            changed.append((path.parent / name).write_text(text))
        return found

    monkeypatch.setattr("failoverd.config.source.load", interrupted)
    source.path.write_text(TEXT + "\n")
    source.poll()
    found = source.poll()
    assert found is not None
    assert found.changed == (("log",) if name == "config.toml" else ("notify",))
    assert source.poll() is None


def test_a_file_that_is_named_anew_is_watched(source: ConfigSource) -> None:
    (source.path.parent / "new").write_text("https://two.example")
    source.path.write_text(TEXT.replace('"url"', '"new"'))
    source.poll()
    (source.path.parent / "new").write_text("https://three.example")
    found = source.poll()
    assert found is not None
    assert found.changed == ("notify",)


def test_a_bad_change_keeps_the_old_one_and_is_reported_once(source: ConfigSource) -> None:
    before = source.config
    source.path.write_text(TEXT + '[failover]\ncooldown = "20 m"\nx = 1\n')
    found = source.poll()
    assert found is not None
    assert [problem.key for problem in found.problems] == ["failover.cooldown", "failover.x"]
    assert source.config is before
    assert source.poll() is None
    assert len(source.reload().problems) == 2
    source.path.unlink()
    found = source.poll()
    assert found is not None
    assert [problem.text for problem in found.problems] == [
        "cannot be read: No such file or directory; give another with --config"
    ]
    assert source.config is before
    source.path.write_text(TEXT)
    assert source.poll() is not None
    assert source.config.rules == before.rules


def test_a_mended_file_is_taken_up(source: ConfigSource) -> None:
    source.path.write_text("x = 1\n")
    assert source.reload().problems
    source.path.write_text(TEXT + "[failover]\nmax_unhealthy = 2\n")
    found = source.poll()
    assert found is not None
    assert found.changed == ("failover",)
    assert source.config.rules.max_unhealthy == 2


def test_a_secret_that_arrives_late_mends_the_file_that_names_it(source: ConfigSource) -> None:
    source.path.write_text(TEXT.replace('"url"', '"later"'))
    found = source.poll()
    assert found is not None
    assert [problem.key for problem in found.problems] == ["notify[0].url_file"]
    assert source.poll() is None
    (source.path.parent / "later").write_text("https://late.example")
    found = source.poll()
    assert found is not None
    assert (found.changed, found.problems) == (("notify",), ())


def test_a_new_secret_in_the_same_file_is_a_change_of_its_table(source: ConfigSource) -> None:
    (source.path.parent / "url").write_text("https://another.example")
    found = source.poll()
    assert found is not None
    assert found.changed == ("notify",)
    assert source.config.channels[0].url == "https://another.example"


def test_a_link_that_is_swapped_as_kubernetes_does_is_a_change(tmp_path: Path) -> None:
    for name, more in (("one", ""), ("two", "[failover]\nmax_unhealthy = 2\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(TEXT.replace('url_file = "url"', 'url = "https://x"') + more)
    (tmp_path / "data").symlink_to("one")
    source = ConfigSource(tmp_path / "data" / "config.toml")
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "data")
    found = source.poll()
    assert found is not None
    assert found.changed == ("failover",)
