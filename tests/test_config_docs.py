"""The reference, the example and the schema are those of the settings, and the example equals the defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from failoverd.config import Settings, load, reference
from failoverd.config.problems import known_keys

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "config.example.toml"
PAGE = ROOT / "docs" / "configuration.md"


def uncommented() -> str:
    """The example with every key set: `#key = value` and `#[table]` made real."""
    return re.sub(r"(?m)^#(?=[a-z_\[])", "", EXAMPLE.read_text())


def test_the_committed_files_are_the_generated_ones() -> None:
    again = "run: python -m failoverd.config.reference"
    assert EXAMPLE.read_text() == reference.example(), f"{again} example > config.example.toml"
    assert PAGE.read_text() == reference.markdown(), f"{again} markdown > docs/configuration.md"


def test_the_example_equals_the_defaults() -> None:
    config = load(EXAMPLE)
    written = tomllib.loads(EXAMPLE.read_text())
    needed = {"sites": written["sites"], "apps": written["apps"]}
    assert config.settings == Settings(**needed)
    app = config.settings.apps[0]
    assert app == type(app)(name="sonarr", namespace="media")


def test_the_example_has_every_key() -> None:
    parsed = tomllib.loads(uncommented())
    for key in known_keys():
        found: object = parsed
        for part in key.replace("[]", "").split("."):
            if isinstance(found, list):
                found = found[0]
            assert isinstance(found, dict)
            assert part in found, key
            found = found[part]


def test_the_page_has_every_table_and_key() -> None:
    tables: dict[str, set[str]] = {}
    for heading, body in re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text()):
        name = heading.strip("`[]").replace("Top level", "")
        tables[name] = set(re.findall(r"(?m)^\| `(\w+)` \|", body))
    wanted: dict[str, set[str]] = {}
    for key in known_keys():
        table, _, name = key.replace("[]", "").rpartition(".")
        wanted.setdefault(table, set()).add(name)
    assert {name: keys for name, keys in tables.items() if keys} == wanted


def test_the_short_form_of_volumes_is_in_page_and_example() -> None:
    for file in (PAGE, EXAMPLE):
        assert 'volumes = ["config", "media"]' in " ".join(file.read_text().replace("# ", "").split()), file


def test_every_key_says_what_it_means() -> None:
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            assert len(line.strip("| ").split(" | ")) >= 4, line


def test_the_schema_knows_every_table_and_no_other() -> None:
    schema = reference.schema()
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["FailoverTable"]["properties"]["cooldown"]["default"] == "15m"
