"""The codes of problems, for ever: a code is never given another meaning, and one that is retired is not reused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of problem: what it is, what it would do to a person, and how it is put right."""

    title: str
    harm: str
    mend: str


_DEAF = "The journey would not react, and people would stay where they are."
_NEVER = "What is written there would never happen to anyone."

CODES: Final[Mapping[str, Code]] = {
    # -- the text ----------------------------------------------------------------------------------------------------
    "T101": Code(
        "Text that cannot be read",
        "Nothing can be published from it.",
        "Give UTF-8 text of at most 64 KB without control characters.",
    ),
    "T102": Code("Not YAML or JSON", "Nothing can be published from it.", "Mend the syntax at this place."),
    "T103": Code(
        "Anchor, alias, tag or second document",
        "A few lines could unfold into gigabytes, and a tag could name code to run.",
        "Write the value out; a definition is one plain document.",
    ),
    "T104": Code("Nested too deeply", "No definition needs it, and readers could run out of stack.", "Flatten it."),
    "T105": Code(
        "Number out of range", "It would be rounded, and mean something else.", "Use a number of up to 15 digits."
    ),
    "T106": Code(
        "Duplicate key", "One of the two would be dropped silently.", "Keep one, or make them a list under one key."
    ),
    "T107": Code("Key that is not text", "It would match nothing.", "Put the key in quotes."),
    "T108": Code("Unknown key", "What it asks for would silently not happen.", "Remove it, or mend its spelling."),
    "T109": Code("Missing key", "The definition is incomplete.", "Add it."),
    "T110": Code("Value of the wrong kind", "It would not mean what is written.", "Give the value that is expected."),
    "T111": Code(
        "Name of the wrong form",
        "Names are used in keys, metrics and addresses and must be stable.",
        "Use small letters, digits, `_` and `-`, beginning with a letter.",
    ),
    # -- the statechart ----------------------------------------------------------------------------------------------
    "T201": Code("No such start", "Nobody could enter.", "Name one of the states."),
    "T202": Code("No such target", "People would be sent nowhere.", "Name one of the states."),
    "T203": Code("Unreachable state", "Nobody would ever be in it.", "Lead a transition to it, or remove it."),
    "T204": Code(
        "Inescapable state",
        "People who come here stay for ever, and their run never ends.",
        "Lead to a final state, or give the journey a goal or an exit.",
    ),
    "T205": Code(
        "Final state that waits",
        "A final state ends the run at once, so " + _NEVER[0].lower() + _NEVER[1:],
        "Keep only `do` in a final state.",
    ),
    "T206": Code("Transition that is never taken", _NEVER, "Put guarded transitions before the one without a guard."),
    "T207": Code(
        "Timers that circle without time passing",
        "A person would go round a thousand times in one instant.",
        "Make one of the delays at least a minute.",
    ),
    "T208": Code(
        "Signals that circle",
        "The journey would answer its own signal for ever.",
        "Guard the emit, or emit another signal.",
    ),
    "T209": Code("Reserved name", "It would be taken for one of the platform's own.", "Choose another name."),
    # -- time --------------------------------------------------------------------------------------------------------
    "T301": Code("Not a duration", "The wait would never end, or never begin.", "Write P3D, PT24H, P2W or P1M."),
    "T302": Code(
        "Timer past the goal's window",
        "The run ends before it rings, so " + _NEVER[0].lower() + _NEVER[1:],
        "Shorten it, or widen `goal.within`.",
    ),
    "T303": Code(
        "Anchor both before and after its date", "It could mean either.", "Keep one; use two anchors for two moments."
    ),
    "T304": Code(
        "Next window of an anchor that has one only",
        "A date already past would be skipped, not moved on.",
        "Add `every: P1Y`, or choose `past: act` or `past: skip`.",
    ),
    "T305": Code(
        "Repeats more often than once a minute", "A person would be flooded.", "Repeat at most once a minute."
    ),
    "T306": Code("Two anchors of one name", "One would silence the other.", "Name each anchor differently."),
    # -- conditions and vocabulary -----------------------------------------------------------------------------------
    "T401": Code(
        "Condition that is not right", "It could never be true, so what it guards would not happen.", "Mend it."
    ),
    "T402": Code("Unknown signal", _DEAF, "Use a signal of the tracking plan, or add it there."),
    "T403": Code(
        "Unknown field",
        "It is known of nobody, so the condition would never be true.",
        "Use a field of the tracking plan, or add it there.",
    ),
    "T404": Code(
        "Field out of reach",
        "It has no value here, so the condition would never be true.",
        "Read it where it is known, and keep it in a variable with `set`.",
    ),
    "T405": Code("Variable not declared", "It would be read as unknown.", "Declare it under `variables`."),
    "T406": Code("Variable given the wrong type", "It would be read as unknown.", "Give a value of the declared type."),
    "T407": Code(
        "Signal without the case key",
        "An event without the case key reaches no case: " + _DEAF[0].lower() + _DEAF[1:],
        "Give the signal that property in the tracking plan, or listen to another.",
    ),
    "T408": Code(
        "Data that the signal does not take",
        "The signal would be quarantined and reach nobody.",
        "Give each required property of the signal, with its type.",
    ),
    # -- messages and people -----------------------------------------------------------------------------------------
    "T501": Code(
        "Milestone without an owner",
        "Nobody would notice when people do not reach it (H4).",
        "Add `owner`: a team or a system.",
    ),
    "T502": Code(
        "Message that its own stop signal does not stop",
        "People would be asked to do what they have already done (H7).",
        "Let the milestone's signal lead out of the state, or make it the goal.",
    ),
    "T503": Code(
        "Message that nothing stops",
        "It could reach people long after it has become wrong.",
        "Give the state a milestone, or the journey a goal or an exit.",
    ),
    "T504": Code(
        "Message without a topic",
        "Nobody could have consented to it, or opt out of it.",
        "Give the journey or the message a `topic`; only transactional and urgent support messages need none.",
    ),
    "T505": Code("Unknown template", "There would be nothing to send.", "Name a template of the catalog."),
    "T506": Code(
        "Data that the template does not take",
        "It would not appear in the message.",
        "Declare the variable in the template, or remove it.",
    ),
    "T507": Code(
        "Data that the template needs",
        "The message would have a hole where it stands.",
        "Give it under `data`, or give the variable a default in the template.",
    ),
    "T508": Code(
        "Template that is not live", "Retired or unfinished content would be sent (C11).", "Name a live template."
    ),
    "T509": Code(
        "Template of another topic",
        "People who opted out of that topic would get it under this one.",
        "Use a template of the journey's topic, or give the message that `topic`.",
    ),
    "T510": Code(
        "Channel that the template has no form for",
        "The message could not be made for it.",
        "Name a channel of the template.",
    ),
    "T511": Code(
        "Roles where there are none",
        "A user has no roles to choose from.",
        "Leave out `for`, or make the subject an account.",
    ),
    "T512": Code("Unknown role", "Nobody has it, so nobody would be reached.", "Use a role of the tracking plan."),
    "T513": Code(
        "Message of an account to nobody", "An account cannot read; a person must.", "Add `for` with one or more roles."
    ),
    "T514": Code(
        "Two actions alike in one state",
        "Their keys and outcomes could not be told apart.",
        "Give one of them a `name`.",
    ),
    "T515": Code("Task without an owner", "Nobody would do it.", "Add `owner` to the task or to its state."),
    "T516": Code("Escalation without a deadline", "It would never be escalated.", "Add `sla` or `within`."),
    "T517": Code("No such task to close", _NEVER, "Name a task of this journey."),
    "T518": Code(
        "One task with two meanings",
        "Its deadline and escalation would be those of the other.",
        "Give one of them a `name`.",
    ),
    "T519": Code(
        "Promotion without product state",
        "People would be sold what they have, or cannot use yet (H8).",
        "Guard it with a field of the profile or the account.",
    ),
    "T520": Code(
        "Template that reads an unknown field",
        "The message would have a hole where it stands.",
        "Mend the template, or add the field to the tracking plan.",
    ),
    "T530": Code(
        "Message that interrupts without need",
        "People would be called to their phone for what can wait (C7).",
        "Send it by another channel, or mark the template `time_sensitive: true` and say its `trigger`.",
    ),
    "T531": Code(
        "Checklist that waits for an unknown signal",
        "Its item would never be ticked.",
        "Name a signal of the tracking plan in the template's `items`.",
    ),
    "T532": Code(
        "Data of another type than the template's variable",
        "The message would have a hole where it stands, or could not be made.",
        "Give a value of the variable's type, or mend the template.",
    ),
    # -- between journeys --------------------------------------------------------------------------------------------
    "T601": Code(
        "Two journeys for one moment",
        "The same signal would put a person into both, and both would guide them.",
        "Guard the entry of both, or give one another moment.",
    ),
    "T602": Code(
        "Two journeys that change one audience in opposite ways",
        "The same signal would put a person in and take them out.",
        "Leave the audience to one of them.",
    ),
    "T603": Code(
        "Guidance begins where another journey ends it",
        "The signal that tells one journey to stop the guidance of a stage would start it in the other.",
        "Begin on another signal, or use a template of the next stage.",
    ),
    # -- the tracking plan -------------------------------------------------------------------------------------------
    "T701": Code(
        "Raw event that means two signals",
        "Only the first would ever be heard.",
        "Tell them apart with `where`, or keep one.",
    ),
    "T702": Code(
        "Source that is not declared",
        "Nobody would know whom to ask when its events stop coming.",
        "Add it under `sources`, or mend its name.",
    ),
    # -- the policy --------------------------------------------------------------------------------------------------
    "T801": Code(
        "Rule for a journey or topic that nobody has",
        "It would never apply, and people would get what it was written against.",
        "Mend the name, declare the topic under `topics`, or take the rule out.",
    ),
    "T802": Code(
        "Digest that cannot be rendered",
        "What falls due together would come as several messages after all.",
        "Name a live template that is for this channel.",
    ),
    # -- the team and its tasks --------------------------------------------------------------------------------------
    "T901": Code("Unknown team", "Its tasks would never reach this person.", "Name one of `teams`, or add it there."),
    "T902": Code(
        "Nobody who could stand in",
        "Tasks would wait for somebody who is away.",
        "Name another of `people`.",
    ),
    "T903": Code("One name for two", "Tasks of one would go to the other.", "Give each a name of their own."),
    "T904": Code("Team that nobody is in", "Its tasks would wait for ever.", "Put somebody into it, or remove it."),
    "T905": Code(
        "Not working time",
        "How long a working day is differs from person to person.",
        "Write hours and minutes, such as PT4H.",
    ),
    "T906": Code("Two deadlines of one task", "It could mean either.", "Keep `sla` or `within`."),
}
