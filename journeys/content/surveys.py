"""Survey: a scale or choices, an optional comment, and the answer's properties (S7, C1).

The question is the template's subject; an answer is the signal `survey_answered`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, model_validator

from journeys.language.actions import Model, Name

ANSWERED: Final = "survey_answered"
MAX_COMMENT: Final = 2_000
"""Characters of a comment."""
MAX_POINTS: Final = 11
"""Points of a scale: 0 to 10, as in a net promoter score."""
Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\r\n]*$")]


class SurveyScale(Model):
    """Whole numbers from `from` to `to`, both included; `low` and `high` label the ends."""

    from_: Annotated[int, Field(alias="from", ge=0, le=10)] = 0
    to: Annotated[int, Field(ge=1, le=10)] = 10
    low: Label | None = None
    high: Label | None = None

    @model_validator(mode="after")
    def _upwards(self) -> SurveyScale:
        if self.from_ >= self.to:
            raise ValueError("`from` must be less than `to`")
        return self


class SurveyChoice(Model):
    """A choice: `value` is stable and read by journeys, `label` is shown."""

    value: Name
    label: Label


class Survey(Model):
    """A scale or at least two choices; with `comment`, its label, a free text may be added."""

    scale: SurveyScale | None = None
    choices: Annotated[tuple[SurveyChoice, ...], Field(max_length=10)] = ()
    comment: Label | None = None

    @model_validator(mode="after")
    def _one_question(self) -> Survey:
        values = [choice.value for choice in self.choices]
        if len(values) == 1 or (self.scale is None) != bool(values):
            raise ValueError("a survey has a scale or at least two choices, not both")
        if len(values) != len(set(values)):
            raise ValueError("two choices have the same value")
        return self

    def same_answers(self, other: Survey) -> bool:
        """Whether both have the same answers, whatever their labels."""
        return self._answers() == other._answers()

    def _answers(self) -> tuple[tuple[int, int] | None, list[str]]:
        scale = (self.scale.from_, self.scale.to) if self.scale is not None else None
        return scale, [choice.value for choice in self.choices]

    def answer_properties(self, value: Any, comment: str | None) -> Mapping[str, Any]:
        """The signal's properties: `score` or `choice`, and `comment` if given. Raises ValueError for an invalid answer."""
        answer: dict[str, Any]
        if self.scale is not None:
            if not isinstance(value, int) or isinstance(value, bool) or not self.scale.from_ <= value <= self.scale.to:
                raise ValueError(f"the answer is a whole number from {self.scale.from_} to {self.scale.to}")
            answer = {"score": value}
        else:
            known = [choice.value for choice in self.choices]
            if value not in known:
                raise ValueError(f"the answer is one of {', '.join(known)}")
            answer = {"choice": value}
        if comment and self.comment is None:
            raise ValueError("this survey asks for no comment")
        return {**answer, "comment": comment} if comment else answer
