"""Variants: the choice for a person, problems of their files, and mails signed by the owner (C9)."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.content.markup import markup_text
from activities.content.template_source import TemplateProblems
from activities.content.templates import load_templates
from activities.ports import Outgoing, TemplateFault
from journeys.content.variants import ContentRules, Variant, choose_variant, locale_tag, read_variant, variant_traits

RULES = ContentRules.model_validate(
    {
        "locales": {"default": "en", "known": ["de", "de-AT", "fr"], "fallback": {"gsw": "de", "pt": "fr"}},
        "dimensions": {
            "role": {"from": "profile.role", "values": ["admin", "champion"]},
            "stage": {"from": "account.stage", "values": ["adoption", "renewal"]},
        },
    }
)
CONTENT = """
locales: {default: en, known: [de], fallback: {gsw: de}}
dimensions:
  role: {from: profile.role, values: [admin, champion]}
  stage: {from: profile.stage, values: [adoption, renewal]}
"""
BASE = """---
owner: team
topic: onboarding
stage: setup
action: {label: Go on, url: "https://app.example/{{ plan }}"}
review_date: 2026-12-31
status: live
channels: [email, in_app]
subject: One step for {{ plan }}
variables: {plan: {type: string}, day: {type: string, default: today}}
---
Base: {{ day }}.
"""


def variant(suffix: str) -> Variant:
    parsed = read_variant(RULES, suffix)
    assert isinstance(parsed, Variant), parsed
    return parsed


def chosen(suffixes: list[str], *, channel: str = "email", locale: str | None = None, **profile: str) -> str:
    account = {"stage": profile.pop("stage")} if "stage" in profile else {}
    person = variant_traits(RULES, profile, account, channel, locale)
    return choose_variant(RULES, [variant(suffix) for suffix in suffixes], person).name("en")


@pytest.mark.parametrize(
    ("suffixes", "person", "expected"),
    [
        (["@admin"], {"role": "admin"}, "admin"),
        (["@admin"], {"role": "champion"}, "base"),
        (["@admin"], {}, "base"),
        ([".de"], {"locale": "de-CH"}, "de"),
        ([".de", ".de-AT"], {"locale": "de_at"}, "de-AT"),
        ([".de"], {"locale": "gsw"}, "de"),
        ([".fr"], {"locale": "pt-BR"}, "fr"),
        ([".de"], {"locale": "sv"}, "base"),
        ([".de"], {"locale": "no language at all"}, "base"),
        ([".de", "@admin"], {"locale": "de", "role": "admin"}, "de"),  # the language has precedence
        ([".de", "@admin.de"], {"locale": "de", "role": "admin"}, "admin.de"),
        (["@in_app", "@admin"], {"role": "admin", "channel": "in_app"}, "in_app"),
        (["@renewal", "@admin"], {"role": "admin", "stage": "renewal"}, "admin"),  # in the order of content.yaml
        (["@admin+renewal", "@admin"], {"role": "admin", "stage": "renewal"}, "admin+renewal"),
        (["@admin+renewal"], {"role": "admin", "stage": "adoption"}, "base"),
    ],
)
def test_C9_the_closest_variant_is_chosen(suffixes, person, expected):
    assert chosen(suffixes, **person) == expected


ALL = [f"{tags}{locale}" for tags in ("", "@admin", "@in_app", "@admin+in_app", "@renewal") for locale in ("", ".de")][
    1:
]
VALUES = st.none() | st.sampled_from(["admin", "champion", "renewal", "de", "de-AT", "gsw", "x", ""])


@given(
    st.sets(st.sampled_from(ALL)),
    st.permutations(ALL),
    VALUES,
    VALUES,
    VALUES,
    st.sampled_from(["email", "in_app", "fax"]),
)
def test_C9_the_choice_does_not_depend_on_the_order_of_variants_and_matches_the_person(
    existing, order, role, stage, locale, channel
):
    person = variant_traits(RULES, {"role": role, "locale": locale}, {"stage": stage}, channel)
    variants = [variant(suffix) for suffix in order if suffix in existing]
    chosen_variant = choose_variant(RULES, variants, person)
    assert chosen_variant == choose_variant(RULES, list(reversed(variants)), person)
    assert chosen_variant in variants or chosen_variant == Variant("en")
    assert all(person.values.get(name) == value for name, value in chosen_variant.tags)
    assert chosen_variant.locale in person.locales


@pytest.mark.parametrize(("text", "tag"), [("de_at", "de-AT"), ("ZH-hant-tw", "zh-Hant-TW"), ("", None), (7, None)])
def test_a_language_tag_is_normalised_or_read_as_none(text, tag):
    assert locale_tag(text) == tag


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def catalogue(tmp_path):
    def load(content: str = CONTENT, base: str = BASE, today=date(2026, 6, 1), **files: str):
        (tmp_path / "content.yaml").write_text(content)
        folder = tmp_path / "templates"
        folder.mkdir(exist_ok=True)
        for suffix, written in ({"": base} | files).items():
            (folder / f"it{suffix}.md").write_text(written, "utf-8")
        return load_templates(folder, lambda: today)

    return load


def outgoing(**profile) -> Outgoing:
    return Outgoing("k", "it", "a@example.com", profile, {}, {"plan": "pro"})


def problems_of(caught) -> list[tuple[str, int, str]]:
    return [(problem.file.rpartition("/")[2], problem.line, problem.message) for problem in caught.value.problems]


def test_C9_a_variant_replaces_some_fields_and_inherits_the_rest(catalogue):
    templates = catalogue(
        **{".de": "---\nsubject: Ein Schritt\naction: {label: Weiter}\n---\nAuf Deutsch: {{ day }}.\n"}
    )
    rendered = templates.render(outgoing(locale="de-AT"))
    assert (rendered.subject, rendered.action_label, rendered.action_url) == (
        "Ein Schritt",
        "Weiter",
        "https://app.example/pro",
    )
    assert (rendered.variant, rendered.lang, markup_text(rendered.blocks)) == ("de", "de", "Auf Deutsch: today.")
    assert templates.render(outgoing()).variant == "base"


def test_C9_fields_read_include_the_fields_that_variants_are_chosen_by(catalogue):
    templates = catalogue(**{".de": "---\n---\n{{ day }}", "@admin": "---\n---\n{{ day }} {{ profile.name }}"})
    assert templates["it"].fields_read == {"profile.locale", "profile.role", "profile.name"}


@pytest.mark.parametrize("status", ["draft", "retired"])
def test_C11_a_variant_that_is_not_live_is_not_chosen(catalogue, status):
    templates = catalogue(**{".de": f"---\nstatus: {status}\n---\n{{{{ day }}}}"})
    assert templates.render(outgoing(locale="de")).variant == "base"


@pytest.mark.parametrize(
    ("suffix", "written", "line", "words"),
    [
        ("@boss", "---\n---\n{{ day }}", 1, "'boss' is neither a channel nor a value of a dimension"),
        (".sv", "---\n---\n{{ day }}", 1, "'sv' is not one of the locales"),
        (".", "---\n---\n{{ day }}", 1, "'' is not one of the locales"),
        ("@admin+champion", "---\n---\n{{ day }}", 1, "both values of role"),
        ("@champion.en", "---\nowner: [\n---\n{{ day }}", 3, "expected"),
        (".de", "---\nsubject: x\n---\nHello", 1, "'day' is missing"),
        (".de", "---\n---\n{{ day }}\n{{ nope }}", 4, "'nope' is not declared"),
        (
            ".de",
            '---\nsubject: x\naction: {url: "https://other.example/"}\n---\n{{ day }}',
            3,
            "the template has https",
        ),
        (".de", "---\nvariables: {}\n---\n{{ day }}", 2, "Extra inputs"),
        (".de", "---\n---\n \n", 3, "is empty"),
    ],
)
def test_C9_an_invalid_variant_is_reported_with_its_line(catalogue, suffix, written, line, words):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(**{suffix: written})
    assert any(
        file == f"it{suffix}.md" and at == line and words in message for file, at, message in problems_of(caught)
    ), problems_of(caught)


def test_C9_a_variant_may_leave_out_a_variable_that_it_lists_under_omits(catalogue):
    assert catalogue(**{"@admin": "---\nomits: [day]\n---\nHello"}).render(outgoing(role="admin")).variant == "admin"


def test_C9_two_files_with_the_same_variant_are_a_problem(catalogue):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(
            **{
                "@admin+renewal": "---\n---\n{{ day }}",
                "@renewal+admin": "---\n---\n{{ day }}",
                ".en": "---\n---\n{{ day }}",
            }
        )
    assert [(file, message) for file, _, message in problems_of(caught)] == [
        ("it.en.md", "another file has the same variant"),
        ("it@renewal+admin.md", "another file has the same variant"),
    ]


def test_C9_a_variant_without_its_template_is_a_problem(tmp_path):
    (tmp_path / "it.en.md").write_text("---\n---\nHello")
    with pytest.raises(TemplateProblems, match=r"it\.md is missing"):
        load_templates(tmp_path)


def test_C9_a_variant_for_a_channel_that_its_template_does_not_use_is_a_problem(catalogue):
    with pytest.raises(TemplateProblems, match="is not sent by in_app"):
        catalogue(base=BASE.replace("[email, in_app]", "[email]"), **{"@in_app": "---\n---\n{{ day }}"})


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("locales:\n  fallback:\n    de: fr\n    fr: de\n", 3, "goes in a circle: de → fr → de"),
        ("locales:\n  fallback: {de: de-AT}\n", 2, "goes in a circle"),
        ("locales: {known: [german language]}\n", 1, "is not a language tag"),
        ("dimensions:\n  role: {from: profile.role, values: [email]}\n", 2, "email is already a value of channel"),
        ("overdue: never\n", 1, "overdue"),
        ("dimensions: {role: {from: role, values: []}}\n", 1, "dimensions.role.from"),
    ],
)
def test_C9_a_fault_of_the_content_rules_is_reported_with_its_line(catalogue, content, line, words):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(content)
    assert any(
        file == "content.yaml" and at == line and words in message for file, at, message in problems_of(caught)
    ), problems_of(caught)


def test_every_problem_of_rules_templates_and_variants_is_reported_at_once(catalogue):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(
            "locales: {fallback: {de: de-AT}}\n", BASE.replace("live", "lively"), **{"@boss": "---\nx: 1\n---\nHi"}
        )
    assert [file for file, _, _ in problems_of(caught)] == ["content.yaml", "it.md", "it@boss.md", "it@boss.md"]


def test_C11_content_past_its_review_date_is_sent_unless_the_rules_refuse_it(catalogue):
    late = date(2027, 1, 1)
    assert catalogue(today=late).render(outgoing()).variant == "base"
    with pytest.raises(TemplateFault, match="it was due for review on 2026-12-31; its owner is team"):
        catalogue(CONTENT + "overdue: refuse\n", today=late).render(outgoing())
    assert catalogue(CONTENT + "overdue: refuse\n", today=date(2026, 12, 31)).render(outgoing()).variant == "base"


# -- from: owner -------------------------------------------------------------------------------------------------------

OWNED = (
    CONTENT
    + "owner_sender: {reply_domains: [ours.example], otherwise: {name: The team, reply_to: team@ours.example}}\n"
)


@pytest.mark.parametrize(
    ("account", "name", "reply_to"),
    [
        ({"owner_name": "Dana", "owner_email": "dana@ours.example"}, "Dana", "dana@ours.example"),
        ({"owner_name": "Dana\r\nBcc: x", "owner_email": "dana@ours.example"}, "Dana Bcc: x", "dana@ours.example"),
        ({"owner_name": "Dana", "owner_email": "dana@evil.example"}, "The team", "team@ours.example"),
        ({"owner_name": "Dana", "owner_email": "a b@ours.example"}, "The team", "team@ours.example"),
        ({"owner_name": "Dana"}, "The team", "team@ours.example"),
        ({}, "The team", "team@ours.example"),
    ],
)
def test_a_mail_from_the_owner_has_the_owner_or_the_declared_fallback_as_sender(catalogue, account, name, reply_to):
    templates = catalogue(OWNED, BASE.replace("topic:", "from: owner\ntopic:"))
    rendered = templates.render(Outgoing("k", "it", "a@example.com", {}, account, {"plan": "pro"}))
    assert (rendered.sender.name, rendered.sender.reply_to) == (name, reply_to)
    assert {"account.owner_name", "account.owner_email"} <= templates["it"].fields_read


TEAM = """
owner: csm
people:
  dana: {known_as: ["005x"], signs: {name: Dana Smith, reply_to: dana@partner.example}}
  eve: {}
"""


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ({"csm": "dana"}, "Dana Smith"),
        ({"csm": "005x", "owner_name": "Other", "owner_email": "other@ours.example"}, "Dana Smith"),
        ({"csm": "eve", "owner_name": "Eve", "owner_email": "eve@ours.example"}, "Eve"),
        ({"csm": "eve"}, "The team"),
        ({"csm": ["dana"]}, "The team"),
        ({}, "The team"),
    ],
)
def test_the_owner_in_the_team_file_takes_precedence_over_traits_as_sender(tmp_path, account, name):
    (tmp_path / "team.yaml").write_text(TEAM)
    (tmp_path / "content.yaml").write_text(OWNED)
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "it.md").write_text(BASE.replace("topic:", "from: owner\ntopic:"))
    templates = load_templates(folder)
    rendered = templates.render(Outgoing("k", "it", "a@example.com", {}, account, {"plan": "pro"}))
    assert rendered.sender.name == name
    assert "account.csm" in templates["it"].fields_read
