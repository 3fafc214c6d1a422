"""Patterns of files: what matches, and that a walk finds everything that does."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from failoverd.core.patterns import Patterns, trouble


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("config.xml", ["config.xml"], ["a/config.xml", "config.xmlx", "xconfig.xml", "config-xml", "config.xml\n"]),
        ("*.json", ["a.json", ".json", ".a.json", "a\nb.json", "\udcff.json"], ["a/b.json", "a.jsonx"]),
        ("Backups/**", ["Backups/a", "Backups/a/b/c"], ["Backups", "xBackups/a", "a/Backups/b"]),
        ("**", ["a", "a/b"], []),
        ("**/x", ["x", "a/x", "a/b/x"], ["xx", "x/a"]),
        ("a/**/b/*.c", ["a/b/x.c", "a/1/2/b/x.c"], ["a/b/c/x.c", "a/x.c"]),
        ("a?[bc]", ["a1b", "a.c"], ["ab", "a1d", "a/b"]),
        ("[!a]x", ["bx"], ["ax"]),
        ("[a-c]", ["b"], ["d", "-"]),
        ("[]]", ["]"], ["["]),
        ("[ab", ["[ab"], ["a"]),
        ("a(b)+", ["a(b)+"], ["abb"]),
        ("*", ["a"], ["a/b", ".stignore"]),
    ],
)
def test_what_matches(pattern: str, yes: list[str], no: list[str]) -> None:
    assert trouble(pattern) == ""
    found = Patterns([pattern])
    assert [path for path in yes if not found.match(path)] == []
    assert [path for path in no if found.match(path)] == []


@pytest.mark.parametrize("path", [".failoverd/points/x", ".stfolder/x", "a/.stversions/x", ".stignore"])
def test_nothing_of_ours_or_syncthings_ever_matches(path: str) -> None:
    assert not Patterns(["**", "a/**"]).match(path)


def test_a_pattern_that_is_refused_matches_nothing() -> None:
    assert not Patterns(["", "/a", "../a", "a//b"]).match("a")
    assert not Patterns([]).match("a")


PART = st.sampled_from(["a", "b", "ab", "a.c", "*", "?", "*.c", "[ab]", "[!a]", "**"])
NAME = st.sampled_from(["a", "b", "ab", "a.c", "b.c"])


@given(pattern=st.lists(PART, min_size=1, max_size=4), path=st.lists(NAME, min_size=1, max_size=4))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_what_pythons_glob_finds_and_every_folder_on_the_way_is_walked_into(
    tmp_path_factory: pytest.TempPathFactory, pattern: list[str], path: list[str]
) -> None:
    root = tmp_path_factory.mktemp("glob")
    file = root.joinpath(*path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    text, name = "/".join(pattern), "/".join(path)
    raw = glob.glob(text, root_dir=root, recursive=True, include_hidden=True)  # noqa: PTH207 - relative ones
    found = {one for one in raw if Path(root / one).is_file() and not one.endswith("/")}  # "a/" of a file a
    patterns = Patterns([text])
    assert patterns.match(name) == (name in {os.path.normpath(one) for one in found})
    if patterns.match(name):
        assert all(patterns.lead("/".join(path[:end])) for end in range(1, len(path)))
