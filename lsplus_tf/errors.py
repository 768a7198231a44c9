"""The exceptions that the command line tells in a line, such as "what you gave is wrong"."""


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: it names the argument or file, what was expected and what came.
    """


class MissingDataError(InputError, FileNotFoundError):
    """A data file is not where it was looked for; the message says where to get and put it."""

    def __str__(self) -> str:
        # FileNotFoundError would otherwise format its arguments as an errno and a file name.
        return str(self.args[0])


class FailedRunsError(RuntimeError):
    """Some runs of an experiment could not be made; the message, of one line, says which and why.

    All others are made.
    """


class RefusedRunsError(FailedRunsError, InputError):
    """The same, where all of them failed of what the user gave: another call changes nothing."""
