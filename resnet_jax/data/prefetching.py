"""Making batches before they are asked for."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from resnet_jax.data.pipeline import T


def start_first(items: Iterator[T]) -> Iterator[T]:
    """Returns the same items; a thread begins at once to make the first of them.

    An error in the first item is raised when the item is asked for, and not before.
    """
    thread = ThreadPoolExecutor(1)
    first = thread.submit(lambda: list(itertools.islice(items, 1)))
    thread.shutdown(wait=False)

    def made() -> Iterator[T]:
        yield from first.result()
        yield from items

    return made()


def prefetch(items: Iterable[T], put: Callable[[T], T], *, ahead: int = 1) -> Iterator[T]:
    """Yields `put(item)` for each item, called `ahead` items before it is asked for.

    With a `put` that starts a copy to the devices and returns at once, the copy of the next batch
    overlaps with the step on this one.
    """
    items = iter(items)
    waiting = collections.deque(put(item) for item in itertools.islice(items, ahead))
    for item in items:
        waiting.append(put(item))
        yield waiting.popleft()
    yield from waiting
