"""The exceptions that mean "what you gave is wrong", which the command line tells in a line."""


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: it names the argument or file, what was expected and what came.
    """


class MissingDataError(InputError, FileNotFoundError):
    """A data file is not where it was looked for; the message says where to get and put it."""

    def __str__(self) -> str:
        # FileNotFoundError would otherwise format its arguments as an errno and a file name.
        return str(self.args[0])
