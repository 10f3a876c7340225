"""TODO errors."""


class InputError(Exception):
    """Something that the user gave is wrong: a field, a flag, a folder, an image.

    The message says what was expected, what was found and what to do. Commands print it without
    a traceback and exit with status 2. (Not a `ValueError`: the flag libraries wrap those.)
    """


class RunFailed(Exception):
    """A run met something that it must not go on from, such as a loss that is not a number.

    What was saved before stays. Commands print the message without a traceback and exit with
    status 1.
    """


class Stopped(Exception):
    """Somebody asked the process to stop, and it did so at a good moment.

    Attributes:
      number: of the signal; commands exit with status 128 plus this.
    """

    def __init__(self, number: int, message: str = 'stopped'):
        super().__init__(message)
        self.number = number
