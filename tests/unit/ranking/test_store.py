import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from transferability.errors import FileDamagedError, OptionError
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
    with pytest.raises(FileDamagedError, match="is not a results file"):
        ResultStore(text)
    assert text.read_text().startswith("not a database")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(FileDamagedError, match="has layout 0"):
        ResultStore(other)
    with pytest.raises(OptionError, match="cannot be"):
        ResultStore(text / "below.sqlite")
