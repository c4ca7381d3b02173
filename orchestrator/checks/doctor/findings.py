"""One finding of the doctor, and all of them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["ok", "failed", "absent"]


class Finding(BaseModel):
    """One thing that was looked at. `absent` is what a run may do without; a hint says how to mend it."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: State
    found: str
    hint: str | None = None


class Diagnosis(BaseModel):
    """All that was looked at, in order."""

    model_config = ConfigDict(frozen=True)

    findings: list[Finding]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing failed."""
        return all(finding.state != "failed" for finding in self.findings)


def first_line(error: Exception) -> str:
    """Return what an exception says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
