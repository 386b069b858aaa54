"""What a survey asks and which answers there are: a place on a scale or one of a few choices, and perhaps a sentence (S7, C1).

Pure. The question itself is the template's subject; an answer comes back as the signal `survey_answered`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, model_validator

from journeys.language.actions import Model, Name

ANSWERED: Final = "survey_answered"
LONGEST: Final = 2_000
"""Characters of a comment that are kept."""
MOST_POINTS: Final = 11
"""Of a scale: 0 to 10, as the question of recommending has it."""
Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\r\n]*$")]


class SurveyScale(Model):
    """Whole numbers from one to another, both possible; `low` and `high` say what the ends mean."""

    from_: Annotated[int, Field(alias="from", ge=0, le=10)] = 0
    to: Annotated[int, Field(ge=1, le=10)] = 10
    low: Label | None = None
    high: Label | None = None

    @model_validator(mode="after")
    def _upwards(self) -> SurveyScale:
        if self.from_ >= self.to:
            raise ValueError("a scale goes from a smaller number to a larger one")
        return self


class SurveyChoice(Model):
    """One of several: `value` is what journeys see and never changes, `label` what people read."""

    value: Name
    label: Label


class Survey(Model):
    """A scale or choices; with `comment`, its label, a sentence may be added."""

    scale: SurveyScale | None = None
    choices: Annotated[tuple[SurveyChoice, ...], Field(max_length=10)] = ()
    comment: Label | None = None

    @model_validator(mode="after")
    def _one_question(self) -> Survey:
        values = [choice.value for choice in self.choices]
        if len(values) == 1 or (self.scale is None) != bool(values):
            raise ValueError("a scale, or two choices or more, and not both")
        if len(values) != len(set(values)):
            raise ValueError("two choices have the same value")
        return self

    def alike(self, other: Survey) -> bool:
        """Whether both have the same answers, in whatever words."""
        mine, its = self.scale, other.scale
        same = (mine is None) == (its is None)
        if same and mine is not None and its is not None:
            same = (mine.from_, mine.to) == (its.from_, its.to)
        return same and [each.value for each in self.choices] == [each.value for each in other.choices]

    def answered(self, value: Any, comment: str | None) -> Mapping[str, Any]:
        """What the signal carries: `score` or `choice`, and `comment` if there is one. Raises ValueError for no answer of its."""
        said: dict[str, Any]
        if self.scale is not None:
            if not isinstance(value, int) or isinstance(value, bool) or not self.scale.from_ <= value <= self.scale.to:
                raise ValueError(f"the answer is a whole number from {self.scale.from_} to {self.scale.to}")
            said = {"score": value}
        else:
            known = [choice.value for choice in self.choices]
            if value not in known:
                raise ValueError(f"the answer is one of {', '.join(known)}")
            said = {"choice": value}
        if comment and self.comment is None:
            raise ValueError("this survey asks for no comment")
        return {**said, "comment": comment} if comment else said
