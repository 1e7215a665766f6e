"""What was left out or not used of the data is said where results are read."""

import numpy as np

from transferability.cli.show import caveats
from transferability.encoders.function import FunctionEncoder
from transferability.pipeline import Settings, rank
from transferability.report.files import write_records


def lengths(items):
    return np.array([[len(text), text.count("good"), text.count("bad")] for text in items], dtype=float)


def test_notes_are_in_the_table_the_record_and_the_reports(tmp_path):
    for name, header in (("target", "text,emotion"), ("known", "text,label")):
        rows = "".join(
            f"{'good' if row % 2 else 'bad'} film {'x' * (row % 20)} ,{'pn'[row % 2]}\n" for row in range(60)
        )
        (tmp_path / f"{name}.csv").write_text(f"{header}\n{rows}")
    encoders = [FunctionEncoder("lengths", lengths)]
    target, known = (f"csv:{tmp_path / name}.csv" for name in ("target", "known"))
    ranking = rank(target, known, encoders, settings=Settings(cache=False))
    ignored = "target: no labels are read: column 'emotion' has 2 values and is not used; write label=emotion."
    repeated = "40 of 60 rows of data 'known' repeat the content of another row"
    texts = caveats(ranking)
    assert ignored in texts
    assert sum(repeated in text for text in texts) == 1
    files = write_records(ranking.to_dict(), ranking, tmp_path / "out")
    for path in files:
        if path.suffix in (".html", ".md"):
            text = path.read_text().replace("&#39;", "'").replace("\\", "")
            assert "write label=emotion" in text
            assert repeated in text
    assert sum(path.suffix in (".html", ".md") for path in files) == 2
