"""Work spread over a Ray cluster: one task at a time per actor, each actor with what it has opened.

Tasks come in groups that share something expensive: an encoder that is loaded. An actor opens a group, is told its
tasks, and does them one after another; when no group is left to open, idle actors help with the tasks of others.
Results come to the driver as they are done. An actor that is lost (its machine, its memory) costs the task in its
hands, which is given to another one; after three losses it counts as failed. Errors of ours are results, others are
raised.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from transferability import errors
from transferability.errors import TransferabilityError
from transferability.features.ray import Places, connected, places

__all__ = ["LOST", "Outcome", "Work", "spread"]

_ATTEMPTS = 3
_WHOLE = None  # the task that opens a group

LOST = (
    f"the process that computed it was lost {_ATTEMPTS} times: killed for its memory, most likely, or its machine went."
)

_log = logging.getLogger(__name__)


class Work(Protocol):
    """What actors do; pickled, and sent to each of them once."""

    def open(self, group: Any) -> Any:
        """Return what the driver must know of a group to name its tasks."""

    def run(self, group: Any, task: Any) -> Any:
        """Return the result of one task of the group that was opened last."""


class Outcome(NamedTuple):
    """What became of a task, or of a group that could not be opened (`task` is None then)."""

    group: int
    task: Any
    result: Any  # None with an error
    error: TransferabilityError | None = None


class _Assignment(NamedTuple):
    """What an actor is doing."""

    actor: int
    group: int  # -1 while it starts
    task: Any


@dataclass
class _Book:
    """Which tasks are left, and who has opened what."""

    waiting: deque[int]
    tasks: dict[int, deque[Any]] = field(default_factory=dict)  # of groups that have some left
    opened: dict[int, int] = field(default_factory=dict)  # actor -> group
    losses: Counter[tuple[int, Any]] = field(default_factory=Counter)

    def next_for(self, actor: int) -> tuple[int, Any] | None:
        """Return the group and task that an idle actor should do."""
        own = self.opened.get(actor, -1)
        if own not in self.tasks:
            if self.waiting:
                return self.waiting.popleft(), _WHOLE
            if not self.tasks:
                return None
            own = max(self.tasks, key=lambda group: len(self.tasks[group]))
        task = self.tasks[own].popleft()
        if not self.tasks[own]:
            del self.tasks[own]
        return own, task

    def plan(self, group: int, tasks: Sequence[Any]) -> None:
        """Note the tasks of a group that has been opened."""
        if tasks:
            self.tasks[group] = deque(tasks)

    def give_back(self, group: int, task: Any) -> bool:
        """Put back a task whose actor was lost; return whether it is tried again."""
        self.losses[group, task] += 1
        if self.losses[group, task] >= _ATTEMPTS:
            return False
        if task is _WHOLE:
            self.waiting.appendleft(group)
        else:
            self.tasks.setdefault(group, deque()).appendleft(task)
        return True


class _Pool:
    """The actors, and what each is doing."""

    def __init__(self, ray: Any, place: Places, work: Work, n_actors: int) -> None:
        self._ray = ray
        self._remote = ray.remote(num_cpus=place.n_cpus, num_gpus=place.n_gpus)(_Actor)
        self._work = ray.put(work)
        self._actors: dict[int, Any] = {}
        self._running: dict[Any, _Assignment] = {}
        self.idle: set[int] = set()
        for number in range(n_actors):
            self.start(number)

    def start(self, number: int) -> None:
        """Start an actor; it gets no task before it is there, for that may be never."""
        self._actors[number] = self._remote.remote(self._work)
        self._running[self._actors[number].start.remote()] = _Assignment(number, -1, _WHOLE)

    def assign(self, number: int, group: int, task: Any, arguments: tuple[Any, ...]) -> None:
        """Give an idle actor something to do."""
        self.idle.discard(number)
        actor = self._actors[number]
        running = actor.open.remote(*arguments) if task is _WHOLE else actor.run.remote(*arguments, task)
        self._running[running] = _Assignment(number, group, task)

    def busy(self) -> bool:
        """Tell whether an actor works on a task, or whether none has started yet."""
        return any(each.group >= 0 for each in self._running.values()) or not self.idle

    def wait(self) -> tuple[_Assignment, Any]:
        """Return what is done next, and its answer; None for that where the actor was lost, which is started anew."""
        (ready,), _ = self._ray.wait(list(self._running), num_returns=1)
        done = self._running.pop(ready)
        gone = self._ray.exceptions
        try:
            answer = self._ray.get(ready)
        except (gone.RayActorError, gone.WorkerCrashedError, gone.NodeDiedError) as lost:
            _log.info("a worker was lost: %s", lost)
            self.start(done.actor)
            return done, None
        self.idle.add(done.actor)
        return done, answer

    def close(self) -> None:
        """End all actors."""
        for actor in self._actors.values():
            self._ray.kill(actor)


def spread(
    work: Work,
    groups: Sequence[Any],
    plan: Callable[[int, Any], Sequence[Any]],
    *,
    on_gpu: bool | None = None,
    actors: int | None = None,
) -> Iterator[Outcome]:
    """Do the tasks of all groups on a Ray cluster, and yield what becomes of each as soon as it is known.

    Parameters
    ----------
    work : Work
    groups : sequence
        What `work.open` gets, one after another.
    plan : callable
        Called in this process with the number of a group and what `work.open` returned; returns its tasks, which are
        hashable and not None.
    on_gpu : bool, optional
        Whether each actor needs a GPU; by default if the cluster has any. Without one it needs as many processors as
        this process has threads.
    actors : int, optional
        How many; by default as many as the cluster has room for, and never more than there are groups.

    Yields
    ------
    Outcome
        In the order in which tasks end.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    OptionError
        If the cluster has no machine with a GPU, or with as many processors.
    """
    if not groups:
        return
    ray = connected("`executor` 'ray'")
    place = places(ray, on_gpu)
    book = _Book(deque(range(len(groups))))
    pool = _Pool(ray, place, work, max(1, min(actors or place.n_fit, len(groups))))
    try:
        while True:
            for number in sorted(pool.idle):
                following = book.next_for(number)
                if following is not None:
                    pool.assign(number, *following, (groups[following[0]],))
            if not pool.busy():
                return
            done, answer = pool.wait()
            if answer is None:
                book.opened.pop(done.actor, None)
                if done.group >= 0 and not book.give_back(done.group, done.task):
                    yield Outcome(done.group, done.task, None, TransferabilityError(LOST))
                continue
            result, error = answer[0], _error(answer[1])
            if done.group < 0:
                if error is not None:
                    raise error
                continue
            book.opened[done.actor] = done.group
            if done.task is _WHOLE and error is None:
                book.plan(done.group, plan(done.group, result))
            else:
                yield Outcome(done.group, done.task, result, error)
    finally:
        pool.close()


def _error(said: tuple[str, str] | None) -> TransferabilityError | None:
    if said is None:
        return None
    error: TransferabilityError = getattr(errors, said[0], TransferabilityError)(said[1])
    return error


class _Actor:
    """Holds the work, and the group that it has opened."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._opened: Any = None
        self._is_open = False

    def start(self) -> tuple[Any, tuple[str, str] | None]:
        """Tell that it is there."""
        return None, None

    def open(self, group: Any) -> tuple[Any, tuple[str, str] | None]:
        """Open a group."""
        self._is_open = False
        found = _guarded(self._work.open, group)
        self._opened, self._is_open = group, found[1] is None
        return found

    def run(self, group: Any, task: Any) -> tuple[Any, tuple[str, str] | None]:
        """Do a task, of a group that another actor may have opened."""
        if not self._is_open or self._opened != group:
            _, error = self.open(group)
            if error is not None:
                return None, error
        return _guarded(self._work.run, group, task)


def _guarded(do: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[str, str] | None]:
    """Return a result, or the kind and words of an error of ours: Ray would wrap it in a page."""
    try:
        return do(*arguments), None
    except TransferabilityError as error:
        return None, (type(error).__name__, str(error))
