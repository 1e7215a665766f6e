import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from transferability.errors import FileDamagedError, OutputError, TransferabilityError
from transferability.ranking.store import ResultStore, result_key


def test_results_are_found_again_by_key_and_kind(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "deep" / "study.sqlite")
    key = result_key("probe", encoder="a", seed=1)
    assert store.get(key) is None
    store.put(key, "probe", "a", "digits", {"accuracy": 0.5, "name": "Ä"}, 2.0, failed=False)
    store.put(result_key("relatedness"), "relatedness", "a", "digits", {"reason": "no"}, 0.1, failed=True)
    again = ResultStore(store.path)
    found = again.get(key)
    assert found is not None
    assert (found.result, found.encoder, found.failed, found.seconds) == (
        {"accuracy": 0.5, "name": "Ä"},
        "a",
        False,
        2.0,
    )
    assert [each.kind for each in again.results()] == ["probe", "relatedness"]
    assert [each.failed for each in again.results("relatedness")] == [True]


def test_a_later_result_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "study.sqlite")
    for value in (1, 2):
        store.put("k", "probe", "a", "b", {"value": value}, 0.0, failed=False)
    assert [each.result for each in store.results()] == [{"value": 2}]


def test_keys_depend_on_everything_and_not_on_order() -> None:
    assert result_key("a", x=1, y=[2]) == result_key("a", y=[2], x=1)
    assert len({result_key("a", x=1), result_key("b", x=1), result_key("a", x=2), result_key("a", y=1)}) == 4


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"

    def write(number: int) -> None:
        ResultStore(path).put(f"k{number}", "probe", "a", "b", {"n": number}, 0.0, failed=False)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(60)))
    assert {each.result["n"] for each in ResultStore(path).results()} == set(range(60))


def test_what_is_not_a_results_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at as one " * 20)
    with pytest.raises(FileDamagedError, match="is damaged or not a results file"):
        ResultStore(text)
    assert text.read_text().startswith("not a database")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(FileDamagedError, match="has layout 0"):
        ResultStore(other)
    with pytest.raises(OutputError, match="cannot be"):
        ResultStore(text / "below.sqlite")


def damage(path: Path, column: str, value: object) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE results SET {column} = ? WHERE key = 'k'", (value,))
    connection.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("result", '{"accuracy": 0.6}'),  # another number
        ("result", "{"),
        ("result", "[" * 100_000),
        ("result", b"\xff"),
        ("encoder", "b"),
        ("target", 5.5),
        ("failed", 1),
        ("seconds", 2.5),
        ("seconds", "long"),
        ("finished", "2020"),
        ("kind", "finetune"),
        ("sha256", "0"),
    ],
)
def test_a_row_that_was_changed_counts_as_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, value: object
) -> None:
    store = ResultStore(tmp_path / "study.sqlite")
    for key in ("k", "other"):
        store.put(key, "probe", "a", "digits", {"accuracy": 0.5}, 2.0, failed=False)
    damage(store.path, column, value)
    assert store.get("k") is None
    assert [each.key for each in store.results()] == ["other"]
    assert "is damaged and counts as not there" in caplog.text
    store.put("k", "probe", "a", "digits", {"accuracy": 0.5}, 2.0, failed=False)
    assert store.get("k") is not None


@pytest.mark.parametrize("result", ["{", '{"x": NaN}', "[]", "3", "[" * 100_000, '{"x": ' + "9" * 5000 + "}"])
def test_rows_without_a_checksum_are_read_as_far_as_they_can_be(tmp_path: Path, result: str) -> None:
    store = ResultStore(tmp_path / "study.sqlite")
    store.put("k", "probe", "a", "b", {"n": 1}, 0.0, failed=False)
    damage(store.path, "sha256", None)
    assert store.get("k").result == {"n": 1}
    damage(store.path, "result", result)
    assert store.get("k") is None


def test_a_file_of_an_earlier_version_is_read_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE results (key TEXT PRIMARY KEY, kind TEXT, encoder TEXT, target TEXT, failed INTEGER, "
            "result TEXT, seconds REAL, finished TEXT)"
        )
        row = ("k", "probe", "a", "b", 0, '{"n": 1}', 0.5, "2025-01-01")
        connection.execute("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute("PRAGMA user_version=1")
    connection.close()
    store = ResultStore(path)
    store.put("l", "probe", "a", "b", {"n": 2}, 0.5, failed=False)
    assert [each.result["n"] for each in ResultStore(path).results()] == [1, 2]


def test_a_table_of_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE results (key TEXT PRIMARY KEY)")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    with pytest.raises(FileDamagedError, match="has a table without encoder"):
        ResultStore(path)


def test_flipped_bits_change_no_number(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "study.sqlite")
    for number in range(20):
        store.put(f"k{number}", "probe", f"encoder {number}", "digits", {"accuracy": 0.125 * number}, 2.0, failed=False)
    expected = {each.key: each for each in store.results()}
    whole = store.path.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for bit in rng.choice(8 * len(whole), 300, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        store.path.write_bytes(damaged)
        try:
            found = ResultStore(store.path).results()
        except TransferabilityError:
            noticed += 1
            continue
        noticed += len(found) < len(expected)
        for each in found:
            assert each == expected[each.key]
    assert noticed > 50


def test_names_that_are_no_valid_texts_are_kept(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "study.sqlite")
    store.put("k", "probe", "a\udcff", "b", {"name": "a\udcff"}, 0.0, failed=False)
    found = store.get("k")
    assert found is not None
    assert found.result == {"name": "a\udcff"}
    assert found.encoder == r"a\udcff"
