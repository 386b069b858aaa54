"""C9: which variant of a template a person gets, and what its author is told when nobody could get one."""

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
    found = read_variant(RULES, suffix)
    assert isinstance(found, Variant), found
    return found


def chosen(suffixes: list[str], *, channel: str = "email", locale: str | None = None, **profile: str) -> str:
    account = {"stage": profile.pop("stage")} if "stage" in profile else {}
    person = variant_traits(RULES, profile, account, channel, locale)
    return choose_variant(RULES, [variant(each) for each in suffixes], person).name("en")


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
        ([".de", "@admin"], {"locale": "de", "role": "admin"}, "de"),  # a language that is understood comes first
        ([".de", "@admin.de"], {"locale": "de", "role": "admin"}, "admin.de"),
        (["@in_app", "@admin"], {"role": "admin", "channel": "in_app"}, "in_app"),
        (["@renewal", "@admin"], {"role": "admin", "stage": "renewal"}, "admin"),  # as content.yaml has them
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
def test_C9_everybody_gets_exactly_one_variant_and_always_the_same(there, order, role, stage, locale, channel):
    person = variant_traits(RULES, {"role": role, "locale": locale}, {"stage": stage}, channel)
    listed = [variant(each) for each in order if each in there]
    found = choose_variant(RULES, listed, person)
    assert found == choose_variant(RULES, list(reversed(listed)), person)
    assert found in listed or found == Variant("en")
    assert all(person.values.get(name) == value for name, value in found.tags)
    assert found.locale in person.locales


@pytest.mark.parametrize(("given_", "tag"), [("de_at", "de-AT"), ("ZH-hant-tw", "zh-Hant-TW"), ("", None), (7, None)])
def test_a_language_tag_is_spelt_as_usual_or_is_none(given_, tag):
    assert locale_tag(given_) == tag


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


def told(caught) -> list[tuple[str, int, str]]:
    return [(each.file.rpartition("/")[2], each.line, each.message) for each in caught.value.problems]


def test_C9_a_variant_says_it_otherwise_and_takes_over_the_rest(catalogue):
    templates = catalogue(
        **{".de": "---\nsubject: Ein Schritt\naction: {label: Weiter}\n---\nAuf Deutsch: {{ day }}.\n"}
    )
    found = templates.render(outgoing(locale="de-AT"))
    assert (found.subject, found.action_label, found.action_url) == ("Ein Schritt", "Weiter", "https://app.example/pro")
    assert (found.variant, found.lang, markup_text(found.blocks)) == ("de", "de", "Auf Deutsch: today.")
    assert templates.render(outgoing()).variant == "base"


def test_C9_what_variants_are_chosen_by_is_read_and_must_travel(catalogue):
    templates = catalogue(**{".de": "---\n---\n{{ day }}", "@admin": "---\n---\n{{ day }} {{ profile.name }}"})
    assert templates["it"].fields_read == {"profile.locale", "profile.role", "profile.name"}


@pytest.mark.parametrize("status", ["draft", "retired"])
def test_C11_a_variant_that_is_not_live_is_passed_over(catalogue, status):
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
def test_C9_a_variant_that_would_say_something_else_is_told_with_its_line(catalogue, suffix, written, line, words):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(**{suffix: written})
    assert any(file == f"it{suffix}.md" and at == line and words in what for file, at, what in told(caught)), told(
        caught
    )


def test_C9_a_variable_that_a_variant_need_not_say_is_listed(catalogue):
    assert catalogue(**{"@admin": "---\nomits: [day]\n---\nHello"}).render(outgoing(role="admin")).variant == "admin"


def test_C9_two_files_for_the_same_people_and_one_without_template_are_problems(catalogue):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(
            **{
                "@admin+renewal": "---\n---\n{{ day }}",
                "@renewal+admin": "---\n---\n{{ day }}",
                ".en": "---\n---\n{{ day }}",
            }
        )
    assert [(file, what) for file, _, what in told(caught)] == [
        ("it.en.md", "another file has the same variant"),
        ("it@renewal+admin.md", "another file has the same variant"),
    ]


def test_C9_a_variant_without_its_template_is_a_problem(tmp_path):
    (tmp_path / "it.en.md").write_text("---\n---\nHello")
    with pytest.raises(TemplateProblems, match=r"it\.md is missing"):
        load_templates(tmp_path)


def test_C9_a_variant_for_a_channel_the_template_does_not_go_by_is_a_problem(catalogue):
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
def test_C9_what_is_wrong_with_the_rules_is_told_with_its_line(catalogue, content, line, words):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(content)
    assert any(file == "content.yaml" and at == line and words in what for file, at, what in told(caught)), told(caught)


def test_every_problem_of_rules_templates_and_variants_is_told_at_once(catalogue):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(
            "locales: {fallback: {de: de-AT}}\n", BASE.replace("live", "lively"), **{"@boss": "---\nx: 1\n---\nHi"}
        )
    assert [file for file, _, _ in told(caught)] == ["content.yaml", "it.md", "it@boss.md", "it@boss.md"]


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
def test_a_mail_from_the_owner_is_signed_by_them_or_by_who_is_declared_instead(catalogue, account, name, reply_to):
    templates = catalogue(OWNED, BASE.replace("topic:", "from: owner\ntopic:"))
    found = templates.render(Outgoing("k", "it", "a@example.com", {}, account, {"plan": "pro"}))
    assert (found.sender.name, found.sender.reply_to) == (name, reply_to)
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
def test_who_the_team_says_looks_after_the_account_signs_before_what_traits_say(tmp_path, account, name):
    (tmp_path / "team.yaml").write_text(TEAM)
    (tmp_path / "content.yaml").write_text(OWNED)
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "it.md").write_text(BASE.replace("topic:", "from: owner\ntopic:"))
    templates = load_templates(folder)
    found = templates.render(Outgoing("k", "it", "a@example.com", {}, account, {"plan": "pro"}))
    assert found.sender.name == name
    assert "account.csm" in templates["it"].fields_read
