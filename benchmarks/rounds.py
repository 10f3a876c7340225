"""Timing of peers in turns: each peer is a process, and runs once in every round.

If the speed of the machine drifts, it does so for all peers alike, so compare the ratios.
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
    """Serves a peer in its process: runs it once for each line of stdin, and prints the seconds.

    Args:
      run: function that does one unit of work and returns when it is done.
      facts: facts about the peer for the comparing process; printed first as JSON.
    """
    run()  # the first call compiles, which is not measured
    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)


class Peer:
    """A process that calls `serve`.

    Args:
      command: command that starts the process.
      plain: remove `XLA_FLAGS` from its environment.
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
        """Runs the peer once; returns the seconds."""
        self._process.stdin.write('\n')
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f'a peer ended early, with status {self._process.wait()}')
        return line

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()


def compare(peers: dict[str, Peer], num_rounds: int) -> dict[str, Seconds]:
    """Runs the rounds, ends the peers, and returns the seconds of each peer in each round."""
    seconds: dict[str, Seconds] = {name: [] for name in peers}
    for _ in range(num_rounds):
        for name, peer in peers.items():
            seconds[name].append(peer.time())
    for peer in peers.values():
        peer.close()
    return seconds


def summarise(seconds: dict[str, Seconds], first: str, images: int = 1) -> dict[str, dict]:
    """Returns a table: a row for each peer, by name.

    A row has the median, the least and the most seconds, images a second, and the speed of the peer
    `first` over this one. This is the median over rounds of the ratio within a round.

    Args:
      seconds: seconds in each round, by the name of the peer.
      first: name of the peer that the others are compared with.
      images: number of images that a run processes.
    """
    return {
        name: {
            'median_seconds': statistics.median(times),
            'range_seconds': [min(times), max(times)],
            'images_per_second': images / statistics.median(times),
            f'speed_of_{first}_over_it': statistics.median(
                own / reference for own, reference in zip(times, seconds[first], strict=True)
            ),
        }
        for name, times in seconds.items()
    }


def machine() -> dict:
    """Returns the machine and the commit of a measurement: CPU, cores, load and Git commit."""
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


def report(tables: dict[str, dict[str, dict]], *, as_json: bool) -> None:
    """Prints the tables of `summarise` by their subject, as text or as JSON."""
    if as_json:
        print(json.dumps({'machine': machine(), 'found': tables}, indent=2))
        return
    print(', '.join(f'{key} {value}' for key, value in machine().items()))
    for subject, rows in tables.items():
        first = next(iter(rows))
        print(f'\n{subject:28} {"per s":>9} {"median s":>9} {"range s":>17} {first + " is":>14}')
        for name, row in rows.items():
            low, high = row['range_seconds']
            print(
                f'  {name:26} {row["images_per_second"]:9.2f} {row["median_seconds"]:9.4f}'
                f' {low:8.4f}-{high:8.4f} {row[f"speed_of_{first}_over_it"]:9.2f} times'
            )
