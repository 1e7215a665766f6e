"""Plots return axes that show the tables they come from; objects show themselves as escaped HTML."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from transferability import Task, TaskRelatedness
from transferability.display import plots, tables
from transferability.display.columns import column_named
from transferability.errors import OptionError, TaskError
from transferability.ranking.result import Ranking
from transferability.relatedness.results.result import Relatedness
from transferability.report.trackers import Tracker, track

KINDS = ["terms", "classes", "points", "tau", "convergence"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own_axes", [True, False])
def test_every_plot_of_a_result_draws_on_axes_and_saves_as_a_vector(
    ranking: Ranking, kind: str, own_axes: bool
) -> None:
    given = Figure().subplots() if own_axes else None
    ax = ranking.best.relatedness.plot(given, kind=kind)
    assert ax is given or given is None
    stream = io.StringIO()
    ax.figure.savefig(stream, format="svg")
    assert "<svg" in stream.getvalue()
    assert ax.has_data()


@pytest.mark.parametrize("kind", ["terms", "agreement", "references"])
def test_every_plot_of_a_ranking(ranking: Ranking, kind: str) -> None:
    ax = ranking.plot(kind=kind)
    ax.figure.savefig(io.StringIO(), format="svg")
    assert ax.has_data()


def test_bars_stack_to_the_bound(ranking: Ranking) -> None:
    ax = ranking.plot()
    tops = {}
    for patch in ax.patches:
        tops[patch.get_x()] = max(tops.get(patch.get_x(), 0), patch.get_y() + patch.get_height())  # type: ignore[attr-defined]
    assert sorted(tops.values()) == pytest.approx(sorted(each.relatedness.bound for each in ranking.entries))
    assert [label.get_text() for label in ax.get_xticklabels()] == [each.encoder for each in ranking.entries]


def test_names_that_look_like_formulas_are_drawn_as_text(hostile_ranking: Ranking) -> None:
    names = ["$\\frac{1}{2", "a_b^c", "<b>"]
    ax = plots.plot_terms(tables.terms_table([each.relatedness.to_dict() for each in hostile_ranking], names))
    ax.set_title("")  # the title is hostile too: glyphs that no font has are matplotlib's to warn of
    ax.figure.savefig(io.StringIO(), format="svg")
    assert [label.get_text() for label in ax.get_xticklabels()] == names


def test_an_unknown_kind_names_the_others(ranking: Ranking) -> None:
    with pytest.raises(OptionError, match="Did you mean 'terms'"):
        ranking.best.relatedness.plot(kind="term")
    with pytest.raises(OptionError, match="`kind` must be one of"):
        ranking.plot(kind="classes")


def test_points_need_details() -> None:
    rng = np.random.default_rng(0)
    task = Task(rng.normal(size=(20, 3)), np.arange(20) % 2)
    result = TaskRelatedness(1.0).fit(task, task)
    assert tables.points_table(result.to_dict(), None) == []
    with pytest.raises(TaskError, match=r"`result.details` must hold points"):
        result.plot(kind="points")


def test_plotting_touches_no_global_setting(ranking: Ranking) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    for kind in KINDS:
        ranking.best.relatedness.plot(kind=kind)
    assert dict(mpl.rcParams) == before


def test_tables_hold_what_plots_show(ranking: Ranking, relations: list[Relatedness]) -> None:
    frame = ranking.frame()
    assert [row["place"] for row in frame] == [1, 2, 3]
    for row, entry in zip(frame, ranking.entries, strict=True):
        assert row["bound"] == entry.relatedness.bound
        assert row["transferred_accuracy_low"] <= row["transferred_accuracy"] <= row["transferred_accuracy_high"]
        assert list(row)[:4] == ["place", "encoder", "reference", "transferred_accuracy"]
        assert row["logme"] == entry.scores["logme"]
    by_bound = Ranking.sort(ranking.entries, [], "bound", ranking.columns, "bands", ranking.references)
    for row in by_bound.frame():
        assert row["bound_low"] <= row["bound"] <= row["bound_high"]
        assert row["transferred_accuracy_low"] <= row["transferred_accuracy"] <= row["transferred_accuracy_high"]
    assert len(tables.matrix_table([(each.target, each.to_dict()) for each in relations])) == 4
    measured = {ranking.best.encoder: 0.9}
    rows = tables.agreement_table(ranking.records, column_named("bound"), measured)
    ((name, value, accuracy),) = [tuple(row.values()) for row in rows]
    assert (name, value, accuracy) == (ranking.best.encoder, ranking.best.relatedness.bound, 0.9)
    best = ranking.best.relatedness
    assert {row["tau"] for row in tables.tau_table(best.to_dict())} >= {best.tau}


def test_a_pack_that_serves_one_encoder_leaves_gaps_in_the_others() -> None:
    def result(*panel: tuple[str, float]) -> dict:
        return {"panel": [{"reference": name, "bound": bound} for name, bound in panel]}

    rows = [("a", result(("x", 1.0), ("x", 2.0))), ("b", result(("y", 3.0))), ("c", result(("x", 4.0), ("y", 5.0)))]
    table = tables.matrix_table(rows)
    columns = [row["reference"] for row in table if row["row"] == "a"]
    bounds = {name: [row["bound"] for row in table if row["row"] == name] for name in "abc"}
    assert sorted(columns) == ["x", "x", "y"]
    assert [each for each in bounds["a"] if each] == [1.0, 2.0]
    assert bounds["b"].index(3.0) == bounds["c"].index(5.0) == columns.index("y")
    plots.plot_matrix(table).figure.savefig(io.StringIO(), format="svg")


# ── notebooks ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_objects_show_themselves_and_escape_names(
    hostile_ranking: Ranking, ranking: Ranking, relations: list[Relatedness]
) -> None:
    task = Task(np.eye(6), np.arange(6) % 2, "<i>task</i>", ["<script>", "b"])
    bare = Task(np.eye(6), None, "bare")
    for shown in (task, bare, hostile_ranking, hostile_ranking.best.relatedness, ranking, relations[0]):
        html = shown._repr_html_()
        assert html.startswith("<table>")
        assert "<script" not in html
        assert "<i>" not in html
        assert "<img" not in html
        assert len(html) < 20_000
    assert "&lt;i&gt;task&lt;/i&gt;" in task._repr_html_()
    assert "none" in bare._repr_html_()
    assert ranking.best.encoder in ranking._repr_html_()


# ── trackers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Notes(SimpleNamespace):
    """The smallest tracker there is."""

    def log_params(self, params: dict[str, str]) -> None:
        self.params = dict(params)

    def log_metrics(self, metrics: dict[str, float]) -> None:
        self.metrics = dict(metrics)

    def log_artifact(self, path: Path) -> None:
        self.artifact = path


def test_a_tracker_is_anything_with_three_methods(ranking: Ranking, tmp_path: Path) -> None:
    notes = Notes()
    assert isinstance(notes, Tracker)
    track(ranking, notes, [tmp_path / "report.html"])
    assert notes.params["target"] == "bands"
    assert notes.params["settings.test_share"] == "0.3"
    best = ranking.best
    assert notes.metrics[f"{best.encoder.replace(':', '_')}/bound"] == best.relatedness.bound
    assert notes.metrics[f"{best.encoder.replace(':', '_')}/logme"] == best.scores["logme"]
    assert notes.artifact == tmp_path / "report.html"


MLFLOW = """
from mlflow.tracking import MlflowClient
with MLflowTracker("study", uri="file:runs", run_name="one") as tracker:
    track(ranking, tracker, ["note.txt"])
run = MlflowClient("file:runs").get_run(tracker.run_id)
files = [each.path for each in MlflowClient("file:runs").list_artifacts(tracker.run_id)]
print(run.info.status, run.data.metrics["a_b/bound"], run.data.params["target"], files)
"""
WANDB = """
from pathlib import Path
with WandbTracker("study", folder=".", mode="offline") as tracker:
    track(ranking, tracker, ["note.txt"])
    summary = tracker._run.summary["a_b/bound"]
files = [each.name for each in Path("wandb").rglob("note.txt")]
print("FINISHED", summary, tracker._run.config["target"], files)
"""
SETUP = """
from pathlib import Path
import numpy as np
from transferability import Task, TaskRelatedness
from transferability.display import plots, tables
from transferability.display.columns import column_named
from transferability.ranking.result import Ranked, Ranking
from transferability.report.trackers import MLflowTracker, WandbTracker, track
task = Task(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2)
entry = Ranked("a:b", None, TaskRelatedness(1.0).fit(task, task), {}, {}, 0.0)
ranking = Ranking.sort([entry], [], "bound", [], "goal", ["r"])
Path("note.txt").write_text("hello")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("library", "script"), [("mlflow", MLFLOW), ("wandb", WANDB)])
def test_the_real_trackers_without_a_network(tmp_path: Path, library: str, script: str) -> None:
    pytest.importorskip(library)
    # A process of its own: both libraries talk to helpers over sockets, which tests may not open.
    environment = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= {"WANDB_SILENT": "true", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SETUP + script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    status, bound, target, *files = done.stdout.split()
    assert (status, target, files) == ("FINISHED", "goal", ["['note.txt']"])
    assert float(bound) > 0
