"""Times peers in turns: each lives in a process of its own, and a round asks each once.

What drifts on the machine meanwhile, meets all of them; what counts is the ratio.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence

Seconds = list[float]


def serve(run: Callable[[], object], facts: dict) -> None:
    """In a peer's process: says that it is ready, then runs once for each line that it reads.

    Args:
      run: does one unit of work and returns when it is done.
      facts: about the peer, for the process that asks.
    """
    run()  # what the first call does besides is not measured
    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)


class Peer:
    """A process that calls `serve`.

    Args:
      command: starts it.
      plain: without the project's flags for XLA, or anybody else's.
    """

    def __init__(self, command: Sequence[str], *, plain: bool = False):
        environment = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'} | os.environ
        if plain:
            environment.pop('XLA_FLAGS', None)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.facts = json.loads(self._read())

    def time(self) -> float:
        """Has it run once; returns the seconds."""
        self._process.stdin.write('\n')
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f'a peer ended with status {self._process.wait()}')
        return line

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        self._process.wait()


def compare(peers: dict[str, Peer], num_rounds: int) -> dict[str, Seconds]:
    """Returns the seconds of each peer in each round, and ends the peers."""
    found: dict[str, Seconds] = {name: [] for name in peers}
    for _ in range(num_rounds):
        for name, peer in peers.items():
            found[name].append(peer.time())
    for peer in peers.values():
        peer.close()
    return found


def summarise(seconds: dict[str, Seconds], first: str, images: int = 1) -> dict[str, dict]:
    """Returns, by name, median, least and most seconds, images/s, and how much faster `first` is.

    The ratio is the median of the ratios within a round.
    """
    return {
        name: {
            'median_seconds': statistics.median(times),
            'range_seconds': [min(times), max(times)],
            'images_per_second': images / statistics.median(times),
            f'speed_of_{first}_over_it': statistics.median(
                other / mine for other, mine in zip(times, seconds[first], strict=True)
            ),
        }
        for name, times in seconds.items()
    }


def machine() -> dict:
    """Returns what a reader of the table has to know about where it was measured."""
    cpu = next(
        (
            line.partition(':')[2].strip()
            for line in _lines('/proc/cpuinfo')
            if 'model name' in line
        ),
        'unknown',
    )
    commit = subprocess.run(
        ['git', 'describe', '--always', '--dirty'], capture_output=True, text=True, check=False
    )
    return {
        'cpu': cpu,
        'cores': len(os.sched_getaffinity(0)),
        'load': os.getloadavg()[0],
        'commit': commit.stdout.strip(),
    }


def _lines(path: str) -> Iterable[str]:
    try:
        with open(path) as file:  # noqa: PTH123
            return file.readlines()
    except OSError:
        return []


def report(found: dict[str, dict[str, dict]], *, as_json: bool) -> None:
    """Prints what `summarise` returned for each subject, as tables or as JSON."""
    if as_json:
        print(json.dumps({'machine': machine(), 'found': found}, indent=2))
        return
    print(', '.join(f'{key} {value}' for key, value in machine().items()))
    for subject, rows in found.items():
        first = next(iter(rows))
        print(f'\n{subject:28} {"per s":>9} {"median s":>9} {"range s":>17} {first + " is":>14}')
        for name, row in rows.items():
            low, high = row['range_seconds']
            print(
                f'  {name:26} {row["images_per_second"]:9.2f} {row["median_seconds"]:9.4f}'
                f' {low:8.4f}-{high:8.4f} {row[f"speed_of_{first}_over_it"]:9.2f} times'
            )
