"""Prefetching of batches: preparing the next ones during the current step."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar('T')
Result = TypeVar('Result')


def start_first(items: Iterator[T]) -> Iterator[T]:
    """Returns the same items, and starts at once to prepare the first one in a thread.

    An error in the first item is raised only when the item is requested.
    """
    thread = ThreadPoolExecutor(1)
    first = thread.submit(lambda: list(itertools.islice(items, 1)))
    thread.shutdown(wait=False)

    def chain() -> Iterator[T]:
        yield from first.result()
        yield from items

    return chain()


def prefetch(items: Iterable[T], put: Callable[[T], Result], *, ahead: int = 1) -> Iterator[Result]:
    """Yields `put(item)` for each item, and calls it `ahead` items before it is requested.

    With a `put` that starts a copy to the devices and returns at once, the copy of the next batch
    overlaps with the step on this one.
    """
    remaining = iter(items)
    waiting = collections.deque(put(item) for item in itertools.islice(remaining, ahead))
    for item in remaining:
        waiting.append(put(item))
        yield waiting.popleft()
    yield from waiting
