"""The findings of `dpzo doctor`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

FindingState = Literal["ok", "failed", "absent"]


class Finding(BaseModel):
    """The result of one check. A run does not need what is `absent`; a hint says how to fix what failed."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: FindingState
    found: str
    hint: str | None = None


class Diagnosis(BaseModel):
    """All findings, in the order of the checks."""

    model_config = ConfigDict(frozen=True)

    findings: list[Finding]

    @property
    def is_healthy(self) -> bool:
        return all(finding.state != "failed" for finding in self.findings)


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
