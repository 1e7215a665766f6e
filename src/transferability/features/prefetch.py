"""An iterator that runs ahead of its consumer, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")


@contextmanager
def prefetch(items: Iterable[T], depth: Callable[[], int]) -> Iterator[Iterator[T]]:
    """Give an iterator over `items` that are made in a thread, at most `depth()` of them before they are taken.

    What the thread raises is raised where its item would have come. On leaving the block the thread stops at the item
    it is making.
    """
    made: list[T] = []
    changed = threading.Condition()
    stopped = False
    error: BaseException | None = None
    finished = False

    def make() -> None:
        nonlocal error, finished
        try:
            for item in items:
                with changed:
                    made.append(item)
                    changed.notify_all()
                    changed.wait_for(lambda: stopped or len(made) < depth())
                    if stopped:
                        return
        except BaseException as raised:  # noqa: BLE001 - raised again in the consumer's thread
            error = raised
        finally:
            with changed:
                finished = True
                changed.notify_all()

    def take() -> Iterator[T]:
        while True:
            with changed:
                changed.wait_for(lambda: made or finished)
                if not made:
                    break
                item = made.pop(0)
                changed.notify_all()
            yield item
        if error is not None:
            raise error

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        with changed:
            stopped = True
            changed.notify_all()
        thread.join()
