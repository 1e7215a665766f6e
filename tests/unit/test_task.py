import numpy as np
import pytest

from transferability import Task
from transferability.errors import FeatureError, LabelError, TaskError

Z = np.arange(12.0).reshape(6, 2)
Y = [0, 1, 2, 0, 1, 0]


def test_what_a_task_knows() -> None:
    task = Task(Z, Y, name="shapes", class_names=["disc", "ring", "star"])
    assert (len(task), task.n_features, task.n_classes) == (6, 2, 3)
    np.testing.assert_allclose(task.class_priors, [3 / 6, 2 / 6, 1 / 6])
    assert task.class_names == ("disc", "ring", "star")
    assert repr(task) == "Task('shapes': 6 samples, 2 features, 3 classes)"
    assert task.features is Z
    assert task.labels.dtype == np.int64


def test_without_labels() -> None:
    task = Task(Z)
    assert (task.labels, task.n_classes) == (None, 0)
    assert repr(task) == "Task('task': 6 samples, 2 features, no labels)"
    with pytest.raises(
        LabelError, match=r"task 'photos' has no labels, and they are needed here\. Pass Task\(features"
    ):
        Task(Z, name="photos").require_labels()
    named = Task(Z, class_names=("a", "b"))
    assert named.n_classes == 2


def test_a_task_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Task(Z, Y).name = "other"  # type: ignore[misc]


def test_subset_keeps_labels_and_names() -> None:
    task = Task(Z, Y, name="shapes", class_names=["disc", "ring", "star"]).subset(np.array([0, 1, 2]))
    assert (task.labels.tolist(), task.name, task.class_names) == ([0, 1, 2], "shapes", ("disc", "ring", "star"))
    assert Task(Z).subset(np.array([1])).features.tolist() == [[2, 3]]


def test_messages_name_the_task() -> None:
    with pytest.raises(FeatureError, match=r"`features of task 'photos'` must be finite; row 2 holds NaN"):
        Task(np.where(Z == 4, np.nan, Z), Y, name="photos")
    with pytest.raises(
        LabelError, match=r"`labels of task 'photos'` must have one entry per row of the features; got 5"
    ):
        Task(Z, Y[:5], name="photos")


def test_class_names_that_do_not_fit() -> None:
    with pytest.raises(
        TaskError, match=r"`class_names` of task 'photos' must name every class; got 2 names for 3 classes"
    ):
        Task(Z, Y, name="photos", class_names=["disc", "ring"])
    with pytest.raises(LabelError, match=r"class 3 \('moon'\) of task 'photos' has no sample\. Remove it from"):
        Task(Z, Y, name="photos", class_names=["disc", "ring", "star", "moon"])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(Y)[:, None], None),
        (np.array(Y, dtype=float), None),
        (["disc", "ring", "star", "disc", "ring", "disc"], ("disc", "ring", "star")),
    ],
)
def test_labels_of_every_kind(labels, names) -> None:
    task = Task(Z, labels)
    assert (task.labels.tolist(), task.class_names) == (Y, names)


def test_names_as_labels_take_their_numbers_from_the_class_names() -> None:
    task = Task(Z, ["b", "a", "c", "b", "a", "b"], class_names=["b", "a", "c"])
    assert (task.labels.tolist(), task.class_names) == (Y, ("b", "a", "c"))
    with pytest.raises(LabelError, match=r"`labels of task 'task'` must be among the class names; 'c' is not"):
        Task(Z, ["b", "a", "c", "b", "a", "b"], class_names=["b", "a", "d"])
    flags = Task(Z, [False, True] * 3, class_names=["bad", "good"])
    assert (flags.labels.tolist(), flags.class_names) == ([0, 1] * 3, ("bad", "good"))
    assert Task(Z, [False, True] * 3).class_names == ("False", "True")
