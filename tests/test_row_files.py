"""A version of a model with a table is as large as the rows that have changed, and comes back bit for bit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.version_loader import VersionLoader
from driftline.errors import CorruptData
from driftline.learning.learner import Learner
from driftline.networks import row_history, shared_pages
from driftline.networks.clone import sibling
from driftline.networks.model import Model
from driftline.networks.row_history import content_hash
from driftline.networks.row_table import RowTable, written_by_rows
from driftline.networks.shared_pages import base_of
from driftline.records import Item, Plan
from driftline.row_files import RowFiles
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.versions import START, VersionFiles
from tests.learning.conftest import assert_same

UID = "0123456789ab"
SPREAD = 100
COUNT, FEATURES = 300_000, 2
TABLE = "network.embedding1.weight"
SPEC: dict[str, Any] = {
    "name": "m",
    "task": "classification",
    "inputs": {"shape": [2], "dtype": "int64"},
    "classes": [0, 1],
    "network": {
        "layers": [
            {"type": "embedding", "count": COUNT, "features": FEATURES, "sparse": True},
            {"type": "flatten"},
        ]
    },
    "recipe": {"strategy": "replay", "gate": {"mode": "off"}},
}


@pytest.fixture
def files(tmp_path: Path) -> VersionFiles:
    return VersionFiles(Artifacts(tmp_path / "artifacts"), UID)


def learner() -> Learner:
    return Learner.create(parse(ModelSpec, SPEC), seed=1)


def taught(one: Learner, step: int) -> Learner:
    """The learner after eight more labels."""
    rows = np.random.default_rng(step).integers(0, COUNT, (8, 2))
    items = [Item(f"i{step}-{n}", {"inputs": row.tobytes()}, n % 2) for n, row in enumerate(rows)]
    one.learn(items, range(8 * step + 1, 8 * step + 9), Plan(updates=2, publish=True, version=step + 2))
    return one


def version(files: VersionFiles, one: Learner, number: int) -> str:
    model = Model(one.spec, one.classes, one.served)
    return files.write_version(model, number, None, START, "told to", {}).manifest


def stored_bytes(files: VersionFiles) -> int:
    folder = files.artifacts.root / UID
    return sum(entry.stat().st_size for entry in os.scandir(folder)) if folder.exists() else 0


def assert_holds(files: VersionFiles, digest: str, one: Learner) -> None:
    found, expected = files.read(digest)[1].tensors, one.served.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_version_and_a_checkpoint_hold_the_rows_that_have_changed(files: VersionFiles) -> None:
    one = learner()
    version(files, one, 1)
    whole = stored_bytes(files)
    assert whole > COUNT * FEATURES * 4
    for step in range(6):
        before = stored_bytes(files)
        digest = version(files, taught(one, step), step + 2)
        assert stored_bytes(files) - before < whole / 50
        assert_holds(files, digest, one)
    model = Model(one.spec, one.classes, one.module)
    files.write_checkpoint(model, one.present_state(), START)
    taught(one, 6)
    before = stored_bytes(files)
    place = files.write_checkpoint(model, one.present_state(), START)
    assert stored_bytes(files) - before < whole / 10, "the optimizer's rows too"
    other = Learner.from_state(files.read(place.manifest)[1])
    assert_same(one.state_dict(), other.state_dict())
    assert one.digest() == other.digest()
    before = stored_bytes(files)
    digests = [version(files, taught(each, 7), 9) for each in (one, other)]
    assert stored_bytes(files) - before < whole / 50, "a learner that has recovered goes on from the files"
    assert one.digest() == other.digest()
    for digest in digests:
        assert_holds(files, digest, one)


@pytest.mark.anyio
async def test_a_server_reads_what_has_changed_alone(files: VersionFiles) -> None:
    one = learner()
    digests = [version(files, one, 1)]
    digests += [version(files, taught(one, step), step + 2) for step in range(4)]
    whole = files.manifest(digests[0]).tensors[TABLE]
    loader = VersionLoader(files.artifacts, Settings())
    snapshots = [await loader.load(UID, digest) for digest in digests[:2]]
    (files.artifacts.root / UID / whole).unlink()
    for place, digest in enumerate(digests[2:], 2):
        snapshots.append(await loader.load(UID, digest, snapshots[place - 1], snapshots[place - 2]))
        assert snapshots[place].module is snapshots[place - 2].module
    found = snapshots[-1].module.state_dict()
    assert all(torch.equal(found[name], value) for name, value in one.served.state_dict().items())
    with pytest.raises(CorruptData):  # What is gone back to needs rows that only the whole table has.
        await loader.load(UID, digests[0], snapshots[-1], snapshots[-2])
    loader.close()


def test_whatever_writes_a_table_without_saying_so_is_found(files: VersionFiles) -> None:
    one = learner()
    version(files, taught(one, 0), 1)
    before = one.digest()
    with torch.no_grad():
        one.module.get_parameter(TABLE)[77] += 1
    assert one.digest() != before
    one.promotion.set_champion(one.module, one.learned)
    assert_holds(files, version(files, one, 2), one)


def test_a_file_of_rows_that_is_not_of_its_table_is_damage(files: VersionFiles) -> None:
    one = learner()
    version(files, one, 1)
    digest = version(files, taught(one, 0), 2)
    manifest = files.manifest(digest)
    wrong = RowFiles(files.artifacts, UID)
    with pytest.raises(CorruptData, match="does not hold rows of its table"):
        wrong.read([manifest.tensors[TABLE], manifest.together.sha256])
    with pytest.raises(CorruptData, match="does not hold rows of its table"):
        wrong.read([manifest.tensors[TABLE], *manifest.rows["network.embedding1.learned_at"]])


class _Tables:
    """A table, copies of it, and what each holds; every write and file is checked against these."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = RowFiles(Artifacts(folder), UID)
        self.tables = [torch.zeros(30 * SPREAD, 2)]
        row_history.track(self.tables)
        self.expected = [self.tables[0].clone()]
        self.held: list[tuple[list[str], Tensor]] = []

    def write(self, place: int, row: int, is_told: bool) -> None:
        table, expected = (tables[place % len(tables)] for tables in (self.tables, self.expected))
        rows = torch.tensor([row, (row * 7 + 3) % 30]) * SPREAD
        with row_history.writing([table] if is_told else [], rows):
            table[rows] += 1.0 + row
        expected[rows] += 1.0 + row

    def copy(self, place: int) -> None:
        place %= len(self.tables)
        self.tables.append(row_history.shared(self.tables[place]))
        self.expected.append(self.expected[place].clone())

    def put(self, place: int) -> None:
        table = self.tables[place % len(self.tables)]
        found = self.files.put({"table": table})["table"]
        self.held.append(([file.digest for file in found], table.clone()))

    def lose(self, place: int) -> None:
        """What files no version needs goes: here all but the last that were written."""
        kept = {digest for digests, _ in self.held[-1:] for digest in digests}
        for name in {digest for digests, _ in self.held for digest in digests} - kept:
            (self.folder / UID / name).unlink(missing_ok=True)
        self.held = self.held[-1:]

    def check(self) -> None:
        spare = None
        for digests, content in self.held:
            assert torch.equal(self.files.read(digests), content)
            if spare is None or not self.files.bring_up(spare, digests):
                spare = self.files.read(digests)
            assert torch.equal(spare, content) and content_hash(spare) == content_hash(content)
        for table, expected in zip(self.tables, self.expected, strict=True):
            assert torch.equal(table, expected) and content_hash(table) == content_hash(expected)
            assert row_history.is_finite(table)
        with row_history.writing(self.tables[:1], torch.tensor([7])):
            self.tables[0][7] = torch.inf
        assert not row_history.is_finite(self.tables[0])


MOVES = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 5), st.integers(0, 29), st.booleans()),
    st.tuples(st.just("write"), st.integers(0, 5), st.integers(0, 29), st.just(True)),
    st.tuples(st.sampled_from(["copy", "put", "put", "lose"]), st.integers(0, 5)),
)


A_COPY_GOES_ITS_OWN_WAY: list[tuple[Any, ...]] = [
    ("put", 0),
    ("copy", 0),
    ("write", 1, 5, True),
    ("put", 1),
    ("write", 0, 9, True),
    ("put", 0),
]


@given(moves=st.lists(MOVES, max_size=40))
@example(moves=A_COPY_GOES_ITS_OWN_WAY)
@settings(max_examples=60, deadline=None)
def test_any_order_of_writes_copies_and_files_comes_back(
    moves: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with mock.patch.object(shared_pages, "MIN_BYTES", 0), mock.patch.object(shared_pages, "MAX_SHARE", 0.3):
        found = _Tables(tmp_path_factory.mktemp("tables"))
        for name, *arguments in moves:
            getattr(found, name)(*arguments)
        found.check()


def test_copies_of_a_table_share_what_neither_has_written() -> None:
    one = RowTable(2**18, 4)
    row_history.track(written_by_rows(one).values())
    for _ in range(3):
        copies = [sibling(one), sibling(one)]
        before = [each.weight.detach().clone() for each in copies]
        with torch.no_grad(), row_history.writing([one.weight], torch.tensor([5])):
            one.weight[5] += 1
        with torch.no_grad():
            one.weight[9] += 1
        assert all(torch.equal(each.weight, former) for each, former in zip(copies, before, strict=True))
    with row_history.writing([one.weight], torch.arange(10)):
        copies = [sibling(one), sibling(one)]
    bases = {id(base_of(each.weight)) for each in (one, *copies)}
    assert len(bases) == 1 and base_of(one.weight) is not None
    again = sibling(one)
    assert {id(base_of(again.weight))} == bases


def test_files_of_rows_stay_few_and_small(tmp_path: Path) -> None:
    found = _Tables(tmp_path)
    found.tables = [torch.zeros(100_000, 2)]
    row_history.track(found.tables)
    lengths, written = [], 0
    for step in range(200):
        rows = torch.arange(step * 50, step * 50 + 50)
        with row_history.writing(found.tables, rows):
            found.tables[0][rows] = 1.0
        before = {file for digests, _ in found.held for file in digests}
        files = found.files.put({"table": found.tables[0]})["table"]
        found.held = [([file.digest for file in files], found.tables[0])]
        lengths.append(len(files))
        written += sum(len(file.rows) for file in files if file.rows is not None and file.digest not in before)
    assert max(lengths) <= 14 and written <= 5 * 200 * 50
    assert torch.equal(found.files.read(found.held[0][0]), found.tables[0])


def test_a_table_that_is_reset_knows_no_row() -> None:
    one = RowTable(5, 2)
    one.learned_at.fill_(3)
    one.reset_parameters()
    assert bool((one.learned_at < 0).all())
