"""What the command line prints with."""

from rich.console import Console


def terminal(*, stderr: bool = False) -> Console:
    """Standard output or error; ":brain:" in a name stays as it is, and is no picture."""
    return Console(stderr=stderr, emoji=False)
