"""How many threads the linear algebra may use.

Optimisers call thousands of tiny matrix products. Spread over threads these gain nothing, and where other work shares
the cores the threads spin while they wait for each other: a fit of 50 ms was seen to take 15 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

__all__ = ["threads_for"]

_WORTH_SHARING = 2e9  # multiply-adds of one product, about a tenth of a second on one core


@contextmanager
def threads_for(multiply_adds: float) -> Iterator[None]:
    """Use one thread for products smaller than this is worth; leave the user's setting for larger ones."""
    if multiply_adds >= _WORTH_SHARING:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield
