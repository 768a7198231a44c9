"""The word for a choice that many parts give: as defined, or as the authors' code computed it."""

from typing import Literal

__all__ = ["Convention"]

Convention = Literal["standard", "released_code"]
"""As the method's or metric's own paper defines it, or as the released code of its authors does."""
