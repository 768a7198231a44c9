"""What callbacks keep of the epochs of a `fit`."""

from __future__ import annotations

from typing import Any

from lsplus_tf.errors import check_count


class History(list[Any]):
    """A list of which the last entries are kept.

    Parameters
    ----------
    most : int, optional
        How many, >= 0; None keeps all.
    """

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.most = None if most is None else check_count("max_history", most, least=0)

    def kept(self, count: int) -> int:
        """How many of so many entries are kept."""
        return count if self.most is None else min(count, self.most)

    def add(self, entry: Any) -> None:
        self.append(entry)
        if self.most is not None:
            del self[: max(0, len(self) - self.most)]
