"""End of a command: its exit status, and one line on standard error that says why."""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from resnet_jax.console import signals, streams
from resnet_jax.errors import InputError, RunFailed, Stopped


def exit_with(command: Callable[[], object]) -> NoReturn:
    """Calls a command, and ends the process with its status.

    | status | end of the command |
    | --- | --- |
    | what it returns, or 0 for None | it returned, or called `sys.exit` |
    | 1 | the run failed (`RunFailed`), or standard output cannot be written, as on a full disk |
    | 2 | bad input (`InputError`) |
    | 129, 130, 143 | a stop signal: SIGHUP, SIGINT, SIGTERM |
    | 141 | the reader of standard output has ended (`| head -1`); nothing is said |

    141 is the status that SIGPIPE gives other programs. A traceback means a bug.
    """
    signals.end_at_once()
    streams.set_up_streams()
    status = _call(command)
    signals.end_at_once()
    flush_status = _call(sys.stdout.flush)
    sys.exit(status or flush_status)


def _call(command: Callable[[], object]) -> int:
    """Calls a command, prints why it failed, and returns its status."""
    try:
        with signals.interrupts():
            try:
                status = command()
            except SystemExit as end:
                status = end.code
    except InputError as error:
        return _say(f'error: {error}', 2)
    except RunFailed as error:
        return _say(f'failed: {error}', 1)
    except Stopped as stop:
        return _say(str(stop), 128 + stop.number)
    except streams.PipeClosed:
        return 128 + signal.SIGPIPE
    return status if isinstance(status, int) else 0


def _say(line: str, status: int) -> int:
    print(line, file=sys.stderr)
    return status
