"""The SQLite index: the file, queries, connections and forks."""

import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from profbucket.errors import StoragePermissionError, Unavailable
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Selection, SeriesSelection
from storage_local import LocalIndex
from storage_local.index import _close_all
from tests.support.storage.examples import ALL_TIME, NOW, make_meta
from tests.support.storage.index_suite import MIXED, SERIES, add_all, select_all, select_expected

CPU = ProfileType.CPU


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """All SQLite connections that are opened during the test."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def spy(*args: object, **options: object) -> sqlite3.Connection:
        opened.append(connect(*args, **options))  # type: ignore[call-overload]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", spy)
    return opened


class TestIndexFile:
    def test_it_is_in_wal_mode_and_syncs_every_commit(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        index.add(make_meta())
        using = connections[1:]  # the first connection created the file
        assert using
        for connection in using:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL

    def test_labels_are_stored_once_a_series_and_removed_with_its_last_entry(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        metas = [make_meta(NOW + number, labels=f"v={number % 2}") for number in range(10)]
        add_all(index, metas)

        def labels() -> list[tuple[str]]:
            return connections[1].execute("SELECT labels FROM series ORDER BY labels").fetchall()

        assert labels() == [("v=0",), ("v=1",)]
        index.remove([meta.id for meta in metas[:-1]])
        assert labels() == [("v=1",)]
        assert connections[1].execute("SELECT key, value FROM labels").fetchall() == [("v", "1")]
        assert connections[1].execute("SELECT count(*) FROM series_labels").fetchone() == (1,)

    @pytest.mark.parametrize(
        "selection",
        [
            Selection("api", CPU, NOW, NOW + 9),
            Selection("api", None, NOW, NOW + 9),
            Selection("api", CPU, NOW, NOW + 9, after=(NOW + 2, "x"), limit=3),
            Selection("api", CPU, NOW, NOW + 9, SERIES),
            Selection("api", None, NOW, NOW + 9, SERIES, after=(NOW + 2, "x"), limit=3),
        ],
        ids=["type", "any type", "page", "series", "page of series"],
    )
    def test_a_find_uses_indexes_and_never_scans_or_sorts(
        self, connections: list[sqlite3.Connection], index: LocalIndex, selection: Selection
    ) -> None:
        add_all(index, MIXED)
        statements: list[str] = []
        for connection in connections[1:]:
            connection.set_trace_callback(statements.append)
        assert list(index.find(selection))
        index.series(SeriesSelection("api", CPU))
        index.remove([MIXED[0].id])
        for connection in connections[1:]:
            connection.set_trace_callback(None)
        selects = [statement for statement in statements if statement.lstrip().startswith(("SELECT", "DELETE"))]
        assert any("created_at, id, size" in statement for statement in selects)
        for statement in selects:
            plan = [row[3] for row in connections[1].execute(f"EXPLAIN QUERY PLAN {statement}")]
            steps = [step for step in plan if step.startswith(("SCAN", "SEARCH"))]
            assert steps
            for step in steps:
                # A subquery is one that has a limit.
                assert step.startswith(("SEARCH", "SCAN (subquery")) or "json_each" in step, (statement, plan)
            assert not any("ORDER BY" in step for step in plan), (statement, plan)

    def test_a_find_of_a_page_does_not_read_the_pages_before(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        """Even if all entries have the same time."""
        metas = [make_meta(NOW, labels=f"v={number % 3}", data=b"%d" % number) for number in range(400)]
        add_all(index, metas)
        ordered = list(index.find(select_all()))
        first = count_instructions(connections, index, Selection("api", CPU, *ALL_TIME, limit=5))
        last = count_instructions(
            connections, index, Selection("api", CPU, *ALL_TIME, after=ordered[-6].position, limit=5)
        )
        assert last <= first * 1.1

    def test_a_find_of_many_entries_takes_few_queries(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        add_all(index, [make_meta(NOW + number) for number in range(400)])
        statements: list[str] = []
        for connection in connections[1:]:
            connection.set_trace_callback(statements.append)
        assert len(list(index.find(select_all()))) == 400
        for connection in connections[1:]:
            connection.set_trace_callback(None)
        assert 1 < len(statements) < 20

    @pytest.mark.parametrize("labels", [False, True], ids=["no labels", "labels"])
    def test_the_cost_of_a_find_does_not_depend_on_other_entries(
        self, connections: list[sqlite3.Connection], index: LocalIndex, labels: bool
    ) -> None:
        wanted = [make_meta(NOW + number, labels="v=wanted") for number in range(6)]
        add_all(index, wanted)
        selection = Selection("api", CPU, NOW, NOW + 9, [wanted[0].series] if labels else None)
        work = []
        for count in (150, 1500):
            for number in range(count):
                away = 0 if labels else 3_600 * 10**9
                meta = make_meta(
                    NOW + away + number % 10, labels=f"v={number % 40}", data=b"%d %d" % (count, number)
                )
                index.add(meta)
            assert list(index.find(selection)) == wanted
            work.append(count_instructions(connections, index, selection))
        assert work[1] <= work[0] * 1.05

    def test_short_lived_threads_share_a_connection(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        for number in range(50):
            with ThreadPoolExecutor(1) as threads:
                threads.submit(index.add, make_meta(NOW + number)).result()
        assert len(connections) == 2  # one created the file

    def test_a_failed_call_leaves_no_open_transaction(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        with pytest.raises(Unavailable, match="NOT NULL constraint failed"):
            index.add(replace(make_meta(), size=None))  # type: ignore[arg-type]
        assert not any(connection.in_transaction for connection in connections[1:])
        assert index.add(make_meta()) is True

    @pytest.mark.parametrize(
        ("pragma", "error", "sentence"),
        [
            ("max_page_count = 1", Unavailable, "database or disk is full"),
            ("query_only = 1", StoragePermissionError, "give user .* write access to its file"),
        ],
    )
    def test_a_database_that_cannot_be_written_raises_an_error(
        self,
        connections: list[sqlite3.Connection],
        tmp_path: Path,
        pragma: str,
        error: type[Exception],
        sentence: str,
    ) -> None:
        index = LocalIndex(tmp_path / "storage/.index.sqlite")
        index.add(make_meta(NOW))
        for connection in connections[1:]:
            connection.execute(f"PRAGMA {pragma}")
        with pytest.raises(error, match=sentence):
            all(index.add(make_meta(NOW + number)) for number in range(1, 1000))
        assert make_meta(NOW) in list(index.find(select_all()))


def count_instructions(connections: list[sqlite3.Connection], index: LocalIndex, selection: Selection) -> int:
    """Return the number of instructions that SQLite executes for a find of *selection*."""
    executed = 0

    def count() -> int:
        nonlocal executed
        executed += 1
        return 0

    for connection in connections[1:]:
        connection.set_progress_handler(count, 1)
    list(index.find(selection))
    for connection in connections[1:]:
        connection.set_progress_handler(None, 1)
    assert executed
    return executed


def use_in_child(index: LocalIndex) -> None:
    for number in range(20):
        assert index.add(make_meta(NOW + 100 + number))
    assert len(list(index.find(select_all()))) >= 40


class TestForks:
    def test_an_index_can_be_used_by_a_process_and_its_forked_children(
        self, index: LocalIndex, tmp_path: Path
    ) -> None:
        add_all(index, [make_meta(NOW + number) for number in range(20)])
        find = index.find(select_all())
        metas = [next(find)]
        child = multiprocessing.get_context("fork").Process(target=use_in_child, args=(index,))
        child.start()
        for number in range(20):
            index.add(make_meta(NOW + 200 + number))
        child.join()
        assert child.exitcode == 0
        metas += find
        assert len(metas) == 20
        assert len(list(index.find(select_all()))) == 60
        connection = sqlite3.connect(tmp_path / "storage/.index.sqlite")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()

    def test_a_child_inherits_no_idle_connection(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        index.add(make_meta())
        child = multiprocessing.get_context("fork").Process(target=len, args=("",))
        child.start()
        child.join()
        for connection in connections:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.execute("SELECT 1")
        assert list(index.find(select_all())) == [make_meta()]


def test_entries_of_many_series_are_picked_from_all_in_the_range(
    index: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_all(index, MIXED)
    queries: list[str] = []
    connect = index._connect

    def connect_and_note(uri: str) -> sqlite3.Connection:
        connection = connect(uri)
        connection.set_trace_callback(queries.append)
        return connection

    monkeypatch.setattr(index, "_connect", connect_and_note)
    _close_all(index._idle)
    for minimum, per_series, picks in ((0, 1000, True), (0, 0, False), (1000, 1000, False)):
        monkeypatch.setattr("storage_local.entries._MIN_SERIES", minimum)
        monkeypatch.setattr("storage_local.entries._ENTRIES_PER_SERIES", per_series)
        for number, profile_type, limit in product((1, 4, len(SERIES)), (CPU, None), (None, 3)):
            series = SERIES[::-number]
            selection = Selection("api", profile_type, NOW, NOW + 12, series, limit=limit, after=(NOW + 1, ""))
            queries.clear()
            assert list(index.find(selection)) == select_expected(selection, MIXED)
            assert any("WHERE kind = " in query for query in queries) is picks
            selection = replace(selection, limit=None, after=None)
            queries.clear()
            columns = index.snapshot_columns(selection)[1]
            found = sorted((meta for part in columns for meta in part.metas()), key=lambda meta: meta.position)
            assert found == select_expected(selection, MIXED)
            assert any("AND series IN" in query for query in queries) is picks
