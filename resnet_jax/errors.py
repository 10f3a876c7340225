"""Errors that commands print without a traceback: bad input, a failed run, a stop by a signal."""


class InputError(Exception):
    """Bad input from the user: a config field, a flag, a folder or an image.

    The message says what was expected, what was found and what to do. Commands print it without
    a traceback and exit with status 2. It is not a `ValueError`, because the flag libraries catch
    and wrap those.
    """


class RunFailed(Exception):
    """A failure after which a run must not continue, such as a loss that is not a number.

    Everything that was saved before stays. Commands print the message without a traceback and exit
    with status 1.
    """


class Stopped(Exception):
    """An orderly stop of the process, requested by a signal.

    Attributes:
      number: number of the signal; commands exit with status 128 + this number.
    """

    def __init__(self, number: int, message: str = 'stopped'):
        super().__init__(message)
        self.number = number
