"""Every key's line is found, whatever valid TOML looks like."""

from __future__ import annotations

import tomllib
from typing import Any

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from failoverd.config.locate import Path, lines

DOCUMENT = '''\
# a comment with = and [brackets]
mode = "observe"   # and "quotes"
a.b."c d" = 1
text = """
fake = 1
[not.a.table]
\\""" still text"""
raw = \'\'\'
[[nor.this]]\'\'\'

[sites.primary]
node = 'k3s-w1'
selector = { role = "primary", "x.y/z" = "#" }

[[apps]]
name = "one"
volumes = [
  "first",   # with a comment, and a comma
  { name = "second", claim = "],}" },
]
[[apps]]
name = "two"
[apps.inner]
deep = true
[[apps.many]]
x = 1979-05-27T07:32:00Z
[[apps.many]]
x = -1.5e3
'''


def test_keys_of_every_shape_are_found_on_their_line() -> None:
    tomllib.loads(DOCUMENT)
    found = lines(DOCUMENT)
    expected: dict[Path, int] = {
        ("mode",): 2,
        ("a", "b", "c d"): 3,
        ("text",): 4,
        ("raw",): 8,
        ("sites",): 11,
        ("sites", "primary"): 11,
        ("sites", "primary", "node"): 12,
        ("sites", "primary", "selector", "x.y/z"): 13,
        ("apps",): 15,
        ("apps", 0): 15,
        ("apps", 0, "name"): 16,
        ("apps", 0, "volumes", 0): 18,
        ("apps", 0, "volumes", 1, "claim"): 19,
        ("apps", 1): 21,
        ("apps", 1, "name"): 22,
        ("apps", 1, "inner", "deep"): 24,
        ("apps", 1, "many", 1, "x"): 28,
    }
    assert {path: found.get(path) for path in expected} == expected


def test_a_quoted_key_may_hold_escapes() -> None:
    assert lines('"a\\tb\\u00e9" = 1') == {("a\tbé",): 1}


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers(-9, 99) | st.booleans() | st.text(max_size=8).filter(lambda text: "\r" not in text),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.\"' #=[é", max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def paths(value: object, path: Path = ()) -> list[Path]:
    """Every path in a parsed document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, one in inner for found in ((*path, key), *paths(one, (*path, key)))]


@settings(max_examples=200)
@given(st.dictionaries(st.text("abc-_", min_size=1, max_size=4), VALUES, max_size=5))
def test_exactly_the_keys_that_the_parser_finds_are_found(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    found = lines(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
