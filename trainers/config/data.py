"""The `data` section: the examples, and the unit of privacy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainers.config.sections import Count, Section


class DataConfig(Section):
    """Where the examples come from."""

    train: str = Field(description="Private examples: a JSONL, CSV, TSV or Parquet file, or 'hub:<name>[:split]'.")
    num_examples: Count = Field(
        description="Declared number of private examples, a public constant: q and B are multiples of it. "
        "Declare it without looking at who is in the data; it need not be exact for epsilon to hold."
    )
    validation: str | None = Field(
        default=None, description="Examples to score on, in the same forms. Held public unless score.on is 'private'."
    )
    public: str | None = Field(
        default=None,
        description="Public rows, in the same forms, that method.direction or model.lora.init learns from: text "
        "without labels (general English sentences when absent), labelled rows for public-gradient. Never rows of a "
        "budget.",
    )
    shots: Count | None = Field(
        default=None,
        description="Train on this many rows of each label, chosen by a public key. Epsilon then speaks of this "
        "selection, not of the file.",
    )
    shots_seed: int = Field(default=0, ge=0, description="PUBLIC key of the selection.")
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Instead of data.validation: the share of data.train to score on, chosen by a keyed coin for each "
        "record (or user). Needs score.on: private. The declared numbers are divided in the same proportion.",
    )
    user_column: str | None = Field(
        default=None, description="Column that names the user. The user is then the unit of privacy, not the example."
    )
    max_examples_per_user: Count | None = Field(
        default=None, description="With user_column: the most examples m of a drawn user that a step averages."
    )
    num_users: Count | None = Field(
        default=None, description="With user_column: declared number of users, public; then B counts users."
    )

    @model_validator(mode="after")
    def _one_unit_one_validation(self) -> DataConfig:
        users = {name: getattr(self, name) for name in ("user_column", "max_examples_per_user", "num_users")}
        missing = [name for name, value in users.items() if value is None]
        if 0 < len(missing) < len(users):
            raise ValueError(
                f"user_column, max_examples_per_user and num_users belong together, for privacy of users; {missing[0]} "
                "is missing. Give all three, or none for privacy of examples"
            )
        if self.num_users is not None and self.num_users > self.num_examples:
            raise ValueError(
                f"num_users {self.num_users} exceeds num_examples {self.num_examples}: declare one as it is"
            )
        if self.validation is not None and self.validation_share is not None:
            raise ValueError("validation and validation_share both say what to score on: give one of them")
        return self

    @property
    def unit(self) -> Literal["example", "user"]:
        return "example" if self.user_column is None else "user"

    @property
    def num_units(self) -> int:
        """Declared number of units of privacy, training and validation together where they are split."""
        return self.num_users or self.num_examples

    @property
    def has_validation(self) -> bool:
        return self.validation is not None or self.validation_share is not None
