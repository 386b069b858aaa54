"""Codes of problems: title, harm and mend of each.

A code never changes its meaning, and a retired code is not used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of problem: its title, its effect on a person, and the author's remedy."""

    title: str
    harm: str
    mend: str


CODES: Final[Mapping[str, Code]] = {
    "T101": Code(
        "Unreadable text", "Nothing can be published from it.", "Use UTF-8 of at most 64 KB without control characters."
    ),
    "T102": Code("Not YAML or JSON", "Nothing can be published from it.", "Correct the syntax at this position."),
    "T103": Code(
        "Anchor, alias, tag or second document",
        "A few lines could expand to gigabytes, and a tag could name code to run.",
        "Write the value out in one plain document.",
    ),
    "T104": Code("Too many levels of nesting", "The reader could run out of stack.", "Flatten the value."),
    "T105": Code("Number out of range", "The number would be rounded.", "Use a number of up to 15 digits."),
    "T106": Code(
        "Duplicate key", "One of the two values would be lost.", "Keep one, or make them a list under one key."
    ),
    "T107": Code("Key that is not text", "The key would match nothing.", "Put the key in quotes."),
    "T108": Code("Unknown key", "The key would have no effect.", "Remove it, or correct its spelling."),
    "T109": Code("Missing key", "The definition is incomplete.", "Add the key."),
    "T110": Code(
        "Value of the wrong kind", "The definition would mean something else.", "Give a value of the expected kind."
    ),
    "T111": Code(
        "Invalid name",
        "Names are used in keys, metrics and addresses and must be stable.",
        "Use small letters, digits, `_` and `-`, beginning with a letter.",
    ),
    # -- the statechart -----------------------------------------------------------------------------------------------
    "T201": Code("Unknown start state", "No run could begin.", "Name one of the states."),
    "T202": Code("Unknown target state", "The transition would lead nowhere.", "Name one of the states."),
    "T203": Code("Unreachable state", "No run would ever be in it.", "Add a transition to it, or remove it."),
    "T204": Code(
        "State without an end",
        "Runs that enter this state would never end.",
        "Add a path to a final state, a goal or an exit.",
    ),
    "T205": Code(
        "Final state with reactions", "A final state ends the run at once.", "Keep only `do` in a final state."
    ),
    "T206": Code(
        "Transition that is never taken",
        "It would never take effect.",
        "Put guarded transitions before the one without a guard.",
    ),
    "T207": Code(
        "Timer loop without delay", "A run would loop a thousand times at once.", "Make one delay at least a minute."
    ),
    "T208": Code(
        "Signal loop", "The journey would react to its own signals without end.", "Guard the emit, or emit another one."
    ),
    "T209": Code("Reserved name", "The name has a meaning of the platform.", "Choose another name."),
    # -- time ---------------------------------------------------------------------------------------------------------
    "T301": Code("Invalid duration", "The timer would fire at once or never.", "Write P3D, PT24H, P2W or P1M."),
    "T302": Code(
        "Timer after the goal's window",
        "The run ends before the timer fires.",
        "Shorten it, or lengthen `goal.within`.",
    ),
    "T303": Code("Anchor before and after its date", "The definition is ambiguous.", "Keep one, or use two anchors."),
    "T304": Code(
        "`past: next` without repetition",
        "A date already past would be skipped, not moved to the next window.",
        "Add `every: P1Y`, or choose `past: act` or `past: skip`.",
    ),
    "T305": Code(
        "Repeat of less than a minute", "A person would receive too many messages.", "Repeat at most once a minute."
    ),
    "T306": Code("Two anchors with one name", "One anchor would replace the other.", "Name each anchor differently."),
    # -- conditions and vocabulary ------------------------------------------------------------------------------------
    "T401": Code("Invalid expression", "The expression could never be evaluated.", "Correct it."),
    "T402": Code(
        "Unknown signal", "The journey would never receive it.", "Use a signal of the tracking plan, or add it there."
    ),
    "T403": Code(
        "Unknown field",
        "The field has no value for anyone, so the condition would never be true.",
        "Use a field of the tracking plan, or add it there.",
    ),
    "T404": Code(
        "Field that is not known here",
        "The field has no value here, so the condition would never be true.",
        "Read it where it is known, and keep it in a variable with `set`.",
    ),
    "T405": Code("Undeclared variable", "The variable would be read as unknown.", "Declare it under `variables`."),
    "T406": Code(
        "Variable of another type", "The variable would be read as unknown.", "Give a value of the declared type."
    ),
    "T407": Code(
        "Signal without the case key",
        "An event without the case key reaches no run.",
        "Add the property to the signal in the tracking plan, or use another signal.",
    ),
    "T408": Code(
        "Data that the signal does not take",
        "The signal would be quarantined.",
        "Give its required properties, with their types.",
    ),
    # -- messages and people ------------------------------------------------------------------------------------------
    "T501": Code(
        "Milestone without an owner",
        "Nobody would notice when people miss it (H4).",
        "Add `owner`: a team or a system.",
    ),
    "T502": Code(
        "Message that its stop signal does not stop",
        "People would be asked to do what they have done (H7).",
        "Let the milestone's signal lead out of the state, or make it the goal.",
    ),
    "T503": Code(
        "Message that nothing stops", "It could be sent long after it is wrong.", "Add a milestone, a goal or an exit."
    ),
    "T504": Code(
        "Message without a topic",
        "Nobody could consent to the message or opt out of it.",
        "Add `topic` to the journey or the message; transactional and urgent support need none.",
    ),
    "T505": Code("Unknown template", "There would be nothing to send.", "Name a template of the catalogue."),
    "T506": Code(
        "Data that the template does not take", "The value would not appear.", "Declare the variable, or remove it."
    ),
    "T507": Code(
        "Missing template data", "The message would have a gap.", "Add it under `data`, or give the variable a default."
    ),
    "T508": Code(
        "Template that is not live", "Retired or unfinished content would be sent (C11).", "Name a live template."
    ),
    "T509": Code(
        "Template of another topic",
        "People who opted out of that topic would get the message under this one.",
        "Use a template of the journey's topic, or give the message that `topic`.",
    ),
    "T510": Code(
        "Channel without a form of the template",
        "The message could not be rendered.",
        "Name a channel of the template.",
    ),
    "T511": Code("Roles of a user", "A user has no roles.", "Leave out `for`, or make the subject an account."),
    "T512": Code(
        "Unknown role", "Nobody has the role, so nobody would be reached.", "Use a role of the tracking plan."
    ),
    "T513": Code(
        "Account message without roles", "The message would have no recipient.", "Add `for` with one or more roles."
    ),
    "T514": Code(
        "Two actions with one name", "Their keys and outcomes would be the same.", "Give one of them a `name`."
    ),
    "T515": Code("Task without an owner", "Nobody would do the task.", "Add `owner` to the task or to its state."),
    "T516": Code("Escalation without a deadline", "The task would never be escalated.", "Add `sla` or `within`."),
    "T517": Code("Unknown task to close", "The action would never take effect.", "Name a task of this journey."),
    "T518": Code(
        "Two tasks with one name",
        "One would have the deadline and escalation of the other.",
        "Give one of them a `name`.",
    ),
    "T519": Code(
        "Promotion without product state",
        "People would be offered what they have, or cannot use yet (H8).",
        "Guard the message with a field of the profile or the account.",
    ),
    "T520": Code(
        "Template that reads an unknown field",
        "The message would have a gap.",
        "Correct the template, or add the field to the tracking plan.",
    ),
    "T530": Code(
        "Interrupting message without urgency",
        "People would be interrupted for what can wait (C7).",
        "Use another channel, or mark the template `time_sensitive: true` and give its `trigger`.",
    ),
    "T531": Code(
        "Checklist that waits for an unknown signal",
        "The item would never be checked off.",
        "Name a signal of the tracking plan in the template's `items`.",
    ),
    "T532": Code(
        "Template data of another type",
        "The message would have a gap, or could not be rendered.",
        "Give a value of the variable's type, or correct the template.",
    ),
    "T533": Code(
        "Priority not allowed", "Caps would not apply.", "Make it `lifecycle`, or list it in the policy's `pressing`."
    ),
    "T534": Code("Offer or urgent task by a public input", "Any visitor could cause it.", "Use a server's signal."),
    # -- between journeys ---------------------------------------------------------------------------------------------
    "T601": Code(
        "Two journeys for one moment",
        "The same signal would enter a person into both, and both would guide them.",
        "Guard the entry of both, or give one of them another moment.",
    ),
    "T602": Code(
        "Two journeys that change one audience in opposite ways",
        "The same signal would add a person and remove them.",
        "Change the audience in one journey only.",
    ),
    "T603": Code(
        "Stage begun by the signal that ends it elsewhere",
        "One journey would start the messages that the other stops.",
        "Begin on another signal, or use a template of the next stage.",
    ),
    # -- the tracking plan --------------------------------------------------------------------------------------------
    "T701": Code(
        "Raw event for two signals", "Only the first signal would be received.", "Distinguish them with `where`."
    ),
    "T702": Code("Undeclared source", "Nobody could be asked when its events stop.", "Add it under `sources`."),
    "T703": Code("Public mark that is not allowed", "Any visitor of a page could write it.", "Remove `public: true`."),
    "T704": Code(
        "Reserved signal under another source", "Events of your tools are refused.", "Give it the source named here."
    ),
    "T705": Code("Trait for two fields", "Its value would be read as both.", "Leave it to one of them."),
    # -- the policy ---------------------------------------------------------------------------------------------------
    "T801": Code(
        "Rule for an unknown journey, topic or template",
        "The rule would never apply, and its messages would be sent.",
        "Correct the name, declare the topic under `topics`, or remove the rule.",
    ),
    "T802": Code(
        "Digest that cannot be rendered",
        "Messages due together would be sent one by one.",
        "Name a live template that is made for this channel.",
    ),
    # -- the team and its tasks ---------------------------------------------------------------------------------------
    "T901": Code("Unknown team", "Its tasks would never reach this person.", "Name one of `teams`, or add it there."),
    "T902": Code("Invalid deputy", "Tasks would wait for a person who is absent.", "Name another of `people`."),
    "T903": Code("One name for two", "Tasks of one would go to the other.", "Give each a name of their own."),
    "T904": Code("Team without members", "Its tasks would wait without end.", "Add a member, or remove the team."),
    "T905": Code(
        "Not working time", "Working days differ in length between people.", "Write hours and minutes, such as PT4H."
    ),
    "T906": Code("Two deadlines of one task", "The deadline is ambiguous.", "Keep `sla` or `within`."),
}
