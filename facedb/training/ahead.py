"""The next batch is made ready while the last one is learned from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")


def ahead(items: Iterator[T], ready: Callable[[T], U], lent: int) -> Generator[U, None, None]:
    """What `ready` gives for each item, in order, the next while the caller uses one.

    Two that compute beside each other with threads of their own lose less than two in turn that
    share all: twice the threads are never twice as fast.

    Args:
        items: asked for in a thread of its own.
        ready: called in that thread.
        lent: how many of torch's threads it computes with there; the caller has the others until
            the last item, or until it is closed, but at least one.
    """
    threads = torch.get_num_threads()
    if lent:
        torch.set_num_threads(max(1, threads - lent))
    try:
        with ThreadPoolExecutor(
            1, initializer=torch.set_num_threads, initargs=(max(1, lent),)
        ) as pool:
            coming = pool.submit(_next, items, ready)
            while (made := coming.result()) is not None:
                coming = pool.submit(_next, items, ready)
                yield made
    finally:
        torch.set_num_threads(threads)


def _next(items: Iterator[T], ready: Callable[[T], U]) -> U | None:
    for item in items:
        return ready(item)
    return None
