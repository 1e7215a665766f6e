"""Writes the example notebooks from the cells below and executes them: python examples/build.py [FOLDER].

The cells are kept here, where they can be read, reviewed and formatted; the notebooks are what comes out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent

IMAGES = [
    """# Which encoder for my pictures?

The target is scikit-learn's digits, 8 × 8 pixels each; the reference is MNIST. The encoders are plain functions,
so that the notebook runs in seconds without a download. Yours would be names such as `timm:resnet18.a1_in1k`.""",
    """
import numpy as np

from transferability import rank
from transferability.encoders.function import FunctionEncoder
from transferability.pipeline import Settings


def grey(items, size):
    return np.stack([np.asarray(each.convert("L").resize((size, size)), dtype=float) for each in items])


def pixels(items):
    return grey(items, 12).reshape(len(items), -1)


def rows(items):
    return grey(items, 16).mean(axis=2)


def cropped(items):
    found = []
    for each in items:
        picture = each.convert("L")
        box = picture.point(lambda grey: 255 * (grey > 60)).getbbox()  # what has ink
        found.append(np.asarray(picture.crop(box).resize((10, 10)), dtype=float).ravel())
    return np.stack(found)


encoders = [FunctionEncoder(each.__name__, each) for each in (rows, pixels, cropped)]
ranking = rank(
    "packaged:digits",
    ["packaged:mnist"],
    encoders,
    scores=["logme"],
    settings=Settings(limit=600, cache=False),
)
[entry.encoder for entry in ranking.entries]
""",
    """A classifier trained on the reference is transferred to the target by the fitted map. Its accuracy there, the
transferred accuracy, ranks the encoders. The bound is an upper bound on its loss on these rows.""",
    """
for row in ranking.frame():
    right = f"{row['transferred_accuracy']:.0%}"
    print(f"{row['encoder']:7} accuracy {right}, loss {row['transferred_loss']:.2f}, bound {row['bound']:.2f}")
""",
    """How sure is the order? Each accuracy has an interval for new data, and some encoders can be the best: both
statements hold for the whole list at once, with 95 % confidence.""",
    """
for entry, interval, p in zip(ranking.entries, ranking.standings, ranking.p_best, strict=True):
    print(f"{entry.encoder:7} {interval.low:.0%} to {interval.high:.0%}", "can be the best" if p > 0.05 else "")
""",
    """Every result has pictures. This one is the paper's Fig. 3: the three terms, stacked, and the losses
they bound.""",
    """
%matplotlib inline
%config InlineBackend.figure_formats = ["svg"]
ranking.plot().figure
""",
    """And which digit of MNIST stands for which of ours, by the best encoder? It was told the names of neither.""",
    """
best = ranking.best.relatedness
{row["target_class"]: row["reference_class"] for row in best.per_class()}
""",
    """The whole story, as one file to send around:""",
    """
from pathlib import Path
from tempfile import TemporaryDirectory

from transferability.report.files import write_records

with TemporaryDirectory() as folder:
    files = write_records(ranking.to_dict(), ranking, Path(folder))
    print([path.name for path in files])
""",
]

TEXT = [
    """# What is my text task like?

Two references, sentiment and topic, and a question: is sorting short messages into praise and complaint more
like the one or the other? The texts are written on the spot and the encoder counts pieces of words, so that the
notebook runs in seconds without a download. Yours would be `st:all-MiniLM-L6-v2` and a `csv:` file.""",
    """
import csv
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

rng = np.random.default_rng(0)
GOOD, BAD = "great lovely superb kind happy bright".split(), "awful broken rude sad late dull".split()
SPORT, MONEY = "match goal team coach league player".split(), "bank price market stock bond profit".split()
PLAIN = "the a my this was with today again very it on".split()


def sentences(words, n=60):
    return [" ".join(rng.permutation([*rng.choice(words, 3), *rng.choice(PLAIN, 5)])) for _ in range(n)]


folder = Path(mkdtemp())
tasks = {
    "sentiment": {"positive": GOOD, "negative": BAD},
    "topic": {"sport": SPORT, "finance": MONEY},
    "messages": {"praise": [*GOOD[2:], "thanks"], "complaint": [*BAD[2:], "refund"]},
}
for name, classes in tasks.items():
    with (folder / f"{name}.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows((text, label) for label, words in classes.items() for text in sentences(words))
sentences(GOOD, 1)
""",
    """The encoder: how often each piece of three letters occurs, hashed into 64 buckets.""",
    """
import zlib

from transferability.encoders.function import FunctionEncoder


def trigrams(texts):
    counts = np.zeros((len(texts), 64))
    for row, text in enumerate(texts):
        for k in range(len(text) - 2):
            counts[row, zlib.crc32(text[k : k + 3].encode()) % 64] += 1
    return counts


trigrams.modality = "text"
encoder = FunctionEncoder("trigrams", trigrams)
""",
    """`relate` meets every target with every reference. The smallest bound says what the target is like. With two
classes a fitted map can turn any task into any other, so here the features stay where they are: `learn_map=False`.""",
    """
from transferability import TaskRelatedness, relate
from transferability.pipeline import Settings

(result,) = relate(
    [f"csv:{folder / 'sentiment.csv'}", f"csv:{folder / 'topic.csv'}"],
    f"csv:{folder / 'messages.csv'}",
    encoder,
    relatedness=TaskRelatedness(tau=1.0, learn_map=False),
    settings=Settings(cache=False),
)
for each in result.references:
    print(f"{each.reference:10} bound {each.bound:.2f} nats, transferred accuracy {each.transferred_accuracy:.0%}")
""",
    """Messages are like sentiment, not like topics. Which class stands for which, and what does it cost?""",
    """
for row in result.per_class():
    print(f"{row['target_class']:10} ← {row['reference_class']:9} {row['distribution_mismatch']:.2f}")
""",
    """A result shows itself as a table, and as pictures.""",
    """
result
""",
    """
%matplotlib inline
%config InlineBackend.figure_formats = ["svg"]
result.plot(kind="points").figure
""",
]

NOTEBOOKS = {"images": IMAGES, "text": TEXT}


def build(name: str) -> Any:
    """Return a notebook, executed."""
    cells = []
    for position, source in enumerate(NOTEBOOKS[name]):
        is_code = source.startswith("\n")  # code begins on a line of its own, prose with the quotes
        new = nbformat.v4.new_code_cell if is_code else nbformat.v4.new_markdown_cell
        cell = new(source.strip())
        cell["id"] = f"{name}-{position}"  # stable, so that a new build differs only where the output does
        cells.append(cell)
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(book, timeout=120, kernel_name="python3").execute()
    for cell in book.cells:
        cell.metadata = {}  # times of execution
    book.metadata = {"kernelspec": book.metadata["kernelspec"]}
    return book


def main() -> None:
    """Build all, here or in another folder."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name in NOTEBOOKS:
        nbformat.write(build(name), folder / f"{name}.ipynb")


if __name__ == "__main__":
    main()
