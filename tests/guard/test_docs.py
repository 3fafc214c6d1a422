"""docs/guard.md says what the guard understands and says."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

from failoverd.adapters.kubernetes.guards import parse
from failoverd.cli.parser import build
from failoverd.core.filed import FilePoint
from failoverd.core.points import Ailment, Duty, Point, Wanted
from failoverd.guard import copies, filing, points, shelf, sqlite
from failoverd.guard.keeper import BELIEVED
from failoverd.guard.sqlite import AT_ONCE
from scripts.locks import ROOT
from tests.guard.databases import T0, wanted

PAGE = (ROOT / "docs" / "guard.md").read_text()


def test_the_order_on_the_page_is_one_the_guard_follows() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    order = parse(text, "the page")
    assert order.duty is Duty.MAKE
    # What it shows beyond what must be said are the defaults.
    said = {"duty", "epoch", "active"}
    plain = Wanted(duty=order.duty, epoch=order.epoch, active=order.active)
    assert {name: getattr(order, name) for name in json.loads(text) if name not in said} == {
        name: getattr(plain, name) for name in json.loads(text) if name not in said
    }


def test_every_key_of_an_order_is_explained() -> None:
    table = PAGE.split("| key | meaning |")[1].split("\n\n")[0]
    explained = {
        name for row in re.findall(r"(?m)^\| ((?:`\w+`(?:, )?)+) \|", table) for name in row.split("`")[1::2]
    }
    assert explained == {field.name for field in fields(Wanted)} - {"schema"}


def test_every_ailment_of_a_database_is_named() -> None:
    section = " ".join(PAGE.split("## What is said instead of a point")[1].split("\n## ")[0].split())
    elsewhere = {Ailment.MISMATCH, Ailment.NONE}  # of a point at the standby
    assert [str(one) for one in Ailment if one not in elsewhere and f"`{one}`" not in section] == []


def test_the_paths_and_numbers_are_those_of_the_code(tmp_path: Path) -> None:
    point = Point(
        database="app.db", site=wanted().active, epoch=3, serial=7, made_at=T0, size=1, sha256="", wal=True,
        counter_before=0, counter_after=0,
    )  # fmt: skip
    path = shelf.file_of(tmp_path, point).relative_to(tmp_path)
    assert re.fullmatch(r"\.failoverd/points/app\.db-[0-9a-f]{16}/00000003-00000007-primary\.sqlite", str(path))
    assert "`.failoverd/points/DATABASE/EPOCH-SERIAL-SITE.sqlite`" in PAGE
    assert f"within the last {BELIEVED.total_seconds():g} s" in PAGE
    assert f"above {AT_ONCE // 2**20} MiB" in PAGE


def test_the_command_on_the_page_exists() -> None:
    (words,) = re.findall(r"(?m)^failoverd (config rbac [^>]+?) > ", PAGE)
    arguments = build().parse(words.split())
    assert (arguments.command, arguments.guard) == ("config rbac", True)


def test_the_bounds_of_ordinary_files_are_those_of_the_code(tmp_path: Path) -> None:
    section = " ".join(PAGE.split("## Ordinary files")[1].split("\n## ")[0].split())
    assert f"first {filing.MOST:,} files by name, of up to {filing.LARGEST // 2**20} MiB each" in section
    assert f"{filing.TOGETHER // 2**30} GiB together" in section
    assert f"some {filing.ROUND // 2**20} MiB" in section
    assert (filing.APART.total_seconds(), filing.RESTLESS) == (2, 3)  # in words
    point = FilePoint(file="a", site=wanted().active, epoch=3, serial=7, made_at=T0, size=1, sha256="", mode=0o644)
    assert (
        copies.file_of(tmp_path, point)
        .relative_to(tmp_path)
        .match(".failoverd/files/a-*/00000003-00000007-primary.copy")
    )
    assert "`.failoverd/files/FILE/EPOCH-SERIAL-SITE.copy`" in PAGE
    assert all(f"`{end}`" in section for end in (*points.SUFFIXES, *sqlite.SIDECARS))
