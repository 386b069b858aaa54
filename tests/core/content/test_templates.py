"""Templates: rendering, missing values, hostile values, limits, review dates and problems of their files."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from html import unescape
from itertools import product
from pathlib import Path

import pytest

from activities.channels.email.layout import html_part, text_part
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.template_source import TemplateProblems
from activities.content.templates import load_templates, template_infos
from activities.ports import Confirmation, FieldsUnknown, NoOpenRequest, Outgoing, TemplateFault
from journeys.content.template_info import TemplateInfo
from tests.support import shipped_catalog

SHIPPED = Path(__file__).parents[3] / "catalog" / "templates"

MATTER = {
    "owner": "onboarding-team",
    "topic": "onboarding",
    "stage": "setup",
    "role": "admin",
    "action": '{label: "Go on", url: "https://app.example/setup"}',
    "review_date": "2026-12-31",
    "status": "live",
    "channels": "[email, in_app]",
    "subject": '"One step is left"',
    "variables": "{error: {type: string, default: none}, plan: {type: string}}",
}


def source(body: str = "Hello.", **matter: str | None) -> str:
    lines = [f"{key}: {value}" for key, value in (MATTER | matter).items() if value is not None]
    return "\n".join(["---", *lines, "---", body, ""])


@pytest.fixture
def catalogue(tmp_path):
    def load(**files: str):
        for name, content in files.items():
            path = tmp_path / "setup" / f"{name}.md"
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, "utf-8")
        return load_templates(tmp_path)

    return load


@pytest.fixture
def rendered(catalogue):
    def render(body="Hello.", *, profile=None, account=None, data=None, unsubscribe="", **matter):
        templates = catalogue(it=source(body, **matter))
        return templates.render(message("setup/it", profile=profile, account=account, data=data), unsubscribe)

    return render


@pytest.fixture
def problems(catalogue):
    def find(content: str) -> list[tuple[int, str]]:
        with pytest.raises(TemplateProblems) as caught:
            catalogue(it=content)
        return [(problem.line, problem.message) for problem in caught.value.problems]

    return find


def message(template: str, *, profile=None, account=None, data=None) -> Outgoing:
    return Outgoing("run#a.1/x.1>p", template, "ada@example.com", profile or {}, account or {}, data or {"plan": "pro"})


def html_of(content: Rendered) -> str:
    return markup.markup_html(content.blocks)


# -- rendering -------------------------------------------------------------------------------------------------------


def test_a_body_becomes_html_and_text_from_one_source(rendered):
    content = rendered(
        "# Hi\n\nTwo\nlines, **bold** and _soft_: [docs](https://docs.example/a?b=1&c=2).\n\n- one\n- two\n\n1. first"
    )
    assert html_of(content) == (
        "<h2>Hi</h2>\n"
        '<p>Two lines, <strong>bold</strong> and <em>soft</em>: <a href="https://docs.example/a?b=1&amp;c=2">docs</a>.</p>\n'
        "<ul><li>one</li><li>two</li></ul>\n"
        "<ol><li>first</li></ol>"
    )
    assert markup.markup_text(content.blocks) == (
        "Hi\n\nTwo lines, bold and soft: docs (https://docs.example/a?b=1&c=2).\n\n- one\n- two\n\n1. first"
    )


def test_a_backslash_at_the_end_of_a_line_becomes_a_line_break(rendered):
    content = rendered("Yours,\\\nAda")
    assert html_of(content) == "<p>Yours,<br>Ada</p>"
    assert markup.markup_text(content.blocks) == "Yours,\nAda"


def test_a_loop_makes_list_items(rendered):
    content = rendered(
        "{% for step in profile.steps %}\n- {{ step }}\n{% endfor %}", profile={"steps": ["connect", "invite"]}
    )
    assert html_of(content) == "<ul><li>connect</li><li>invite</li></ul>"


def test_a_body_can_read_profile_account_and_data(rendered):
    content = rendered(
        "{{ profile.name }} of {{ account.name }} on {{ plan }}", profile={"name": "Ada"}, account={"name": "Acme"}
    )
    assert markup.markup_text(content.blocks) == "Ada of Acme on pro"


def test_the_action_and_the_subject_are_liquid_templates(rendered):
    content = rendered(
        subject='"Your {{ plan }} plan"',
        action='{label: "Keep {{ plan }}", url: "https://app.example/{{ plan | url_encode }}"}',
        data={"plan": "pro & co"},
    )
    assert (content.subject, content.action_label, content.action_url) == (
        "Your pro & co plan",
        "Keep pro & co",
        "https://app.example/pro+%26+co",
    )


def test_the_html_part_shows_the_action_as_a_button_and_the_text_part_as_a_url(rendered):
    content = rendered("Hello.")
    page = html_part(content, sender="Acme Inc, 1 Road", unsubscribe_url="https://u.example/1")
    assert re.findall(r'<a href="([^"]+)"', page) == ["https://app.example/setup", "https://u.example/1"]
    assert "prefers-color-scheme:dark" in page
    assert "Acme Inc, 1 Road" in page
    text = text_part(content, sender="Acme Inc, 1 Road", unsubscribe_url="https://u.example/1")
    assert text == (
        "Hello.\n\nGo on:\nhttps://app.example/setup\n\n-- \nAcme Inc, 1 Road\nUnsubscribe: https://u.example/1\n"
    )


def test_a_mail_without_an_unsubscribe_address_has_no_unsubscribe_link(rendered):
    content = rendered("Hello.")
    assert "nsubscribe" not in html_part(content, sender="") + text_part(content, sender="")


def test_a_body_may_place_the_unsubscribe_link_and_shows_plain_text_without_one(rendered):
    body = "Or [stop these]({{ unsubscribe_url }})."
    assert '<a href="https://u.example/1">stop these</a>' in html_of(rendered(body, unsubscribe="https://u.example/1"))
    assert html_of(rendered(body)) == "<p>Or stop these.</p>"


# -- missing values --------------------------------------------------------------------------------------------------


def test_a_declared_default_replaces_missing_data(rendered):
    assert markup.markup_text(rendered("{{ error }}").blocks) == "none"


def test_a_declared_default_replaces_a_missing_profile_field(rendered):
    variables = "{profile.name: {type: string, default: there}, plan: {type: string}}"
    assert markup.markup_text(rendered("Hi {{ profile.name }}", variables=variables).blocks) == "Hi there"
    assert (
        markup.markup_text(rendered("Hi {{ profile.name }}", variables=variables, profile={"name": None}).blocks)
        == "Hi there"
    )
    assert (
        markup.markup_text(rendered("Hi {{ profile.name }}", variables=variables, profile={"name": "Bo"}).blocks)
        == "Hi Bo"
    )


@pytest.mark.parametrize("body", ["{{ plan }}", "{{ profile.name }}", "{{ account.name | upcase }}"])
def test_a_missing_value_without_default_is_a_fault_that_names_it(rendered, body):
    with pytest.raises(TemplateFault, match=r"setup/it: .*(plan|name)"):
        rendered(body, data={"other": 1})


def test_a_value_of_another_type_counts_as_missing(rendered):
    with pytest.raises(TemplateFault, match="plan"):
        rendered("{{ plan }}", data={"plan": 3})


def test_a_field_without_value_or_of_another_type_counts_as_missing(rendered):
    body = "{% if profile.name %}{{ profile.name }}{% else %}nobody{% endif %}"
    variables = "{profile.name: {type: string}, plan: {type: string}}"
    assert markup.markup_text(rendered(body, variables=variables, profile={"name": 7}).blocks) == "nobody"
    with pytest.raises(TemplateFault, match=r"profile\.name"):
        rendered("{{ profile.name }}", profile={"name": None})


def test_a_template_may_test_for_a_missing_field(rendered):
    body = '{% if profile.name %}Hi {{ profile.name }}{% else %}Hello{% endif %}, {{ profile.team | default: "all" }}'
    assert markup.markup_text(rendered(body).blocks) == "Hello, all"


@pytest.mark.parametrize(
    ("body", "lacking"),
    [
        ("{{ profile.name }} {{ account.plan | upcase }} {{ profile.name }}", ("account.plan", "profile.name")),
        ("{{ account.renewal_date | date: '%d %B' }} {{ account.seats | plus: 1 }}", ("account.renewal_date", "account.seats")),
        ("{{ 1 | plus: account.seats }}", ("account.seats",)),
        ("{{ profile.team | default: 'all' }} {% if profile.role %}{{ profile.role }}{% endif %} {{ profile.name }}", ("profile.name",)),
    ],
)  # fmt: skip
def test_H8_a_fault_names_every_missing_field_that_is_printed_without_a_test(rendered, body, lacking):
    with pytest.raises(FieldsUnknown) as fault:
        rendered(body)
    assert fault.value.fields == lacking


def test_H8_a_missing_variable_is_a_content_fault_unless_fields_are_missing_first(rendered):
    with pytest.raises(TemplateFault) as fault:
        rendered("{{ plan }} {{ profile.name }}", data={"other": 1})
    assert not isinstance(fault.value, FieldsUnknown)
    with pytest.raises(FieldsUnknown) as unknown:
        rendered("{{ profile.name }} {{ plan }} {{ profile.team }}", data={"other": 1})
    assert unknown.value.fields == ("profile.name", "profile.team")


# -- hostile values --------------------------------------------------------------------------------------------------

HOSTILE = "<script>x</script> [me](https://evil.example) **b** _e_ \n\n- item\n# h \"'"


def test_a_value_is_never_markup(rendered):
    content = rendered("Hi {{ profile.name }}", profile={"name": HOSTILE})
    page = html_of(content)
    assert re.findall(r"</?(\w+)", page) == ["p", "br", "br", "br", "p"]
    assert unescape(page.removeprefix("<p>Hi ").removesuffix("</p>").replace("<br>", "\n")) == HOSTILE
    assert markup.markup_text(content.blocks) == f"Hi {HOSTILE}"


def test_a_value_is_never_markup_in_a_link_an_echo_or_a_capture(rendered):
    body = "[{{ profile.name }}](https://a.example) {% echo profile.name %} {% capture c %}{{ profile.name }}{% endcapture %}{{ c }}"
    content = rendered(body, profile={"name": "](https://evil.example) **x** <b>"})
    assert re.findall(r'href="([^"]+)"', html_of(content)) == ["https://a.example"]
    assert "<b>" not in html_of(content)
    assert "<strong>" not in html_of(content)


def test_a_value_cannot_break_the_layout(rendered):
    content = rendered(
        subject='"{{ profile.name }}"',
        action='{label: "{{ profile.name }}", url: "https://a.example/"}',
        profile={"name": '</title></a><img src=x onerror="y">'},
    )
    page = html_part(content, sender="")
    assert "<img" not in page
    assert page.count("</title>") == 1


@pytest.mark.parametrize("mark", ["\r\n", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028"])
def test_a_line_break_in_a_value_becomes_a_space_in_the_subject(rendered, mark):
    content = rendered(subject='"Hi {{ profile.name }}"', profile={"name": f"Eve{mark}Bcc: all@example.com"})
    assert content.subject == "Hi Eve Bcc: all@example.com"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "/relative",
        "https:evil",
        "https://a b",
        'https://a/"><b>',
        "http://[",
        "",
    ],
)
def test_an_action_url_that_is_not_an_absolute_safe_url_is_a_fault(rendered, url):
    with pytest.raises(TemplateFault, match="a link must be"):
        rendered(action='{label: Go, url: "{{ plan }}"}', data={"plan": url})


def test_an_unsafe_link_in_a_body_is_a_fault(rendered):
    with pytest.raises(TemplateFault, match="a link must be"):
        rendered("[go]({{ plan }})", data={"plan": "javascript:alert(1)"})


ESCAPED = {
    "a blank": ("T 1001", "T%201001"),
    "another path": ("a/../b?x=1#y", "a%2F..%2Fb%3Fx%3D1%23y"),
    "two parameters": ("1&admin=true", "1%26admin%3Dtrue"),
    "an escape": ("100%20", "100%2520"),
    "a plus": ("a+b", "a%2Bb"),
    "a line break and a tab": ("a\r\nb\tc", "a%0D%0Ab%09c"),
    "quotes and brackets": ("\"<a>'()[]\\\\", "%22%3Ca%3E%27%28%29%5B%5D%5C%5C"),
    "letters beyond ASCII": ("Größe 日本", "Gr%C3%B6%C3%9Fe%20%E6%97%A5%E6%9C%AC"),
    "unreserved characters": ("a-b.c_d~e", "a-b.c_d~e"),
    "a private character of ours": ("a\ue02fb", "a%2Fb"),
}


@pytest.mark.parametrize("place", ["{{ plan }}/confirm", "x?ticket={{ plan }}&by=mail", "x#{{ plan }}"])
@pytest.mark.parametrize(("value", "escaped"), ESCAPED.values(), ids=ESCAPED)
def test_a_value_in_a_url_is_escaped_where_it_stands_and_ends_no_part_of_it(rendered, place, value, escaped):
    url = f"https://app.example/tickets/{place}"
    content = rendered(f"[go]({url})", action=f'{{label: Go, url: "{url}"}}', data={"plan": value})
    assert content.action_url == url.replace("{{ plan }}", escaped)
    assert content.blocks[0].items[0][0].url == content.action_url


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://app.example/a b?x=ä&y=1#z", "https://app.example/a%20b?x=%C3%A4&y=1#z"),
        ("https://app.example/a%20b?x=1+2", "https://app.example/a%20b?x=1+2"),
    ],
)
def test_a_value_that_is_a_whole_url_keeps_its_parts(listed, url, sent):
    action = '{label: Go, url: "{{ plan }}"}'
    assert listed("[app.example]", action=action, data={"plan": url}).action_url == sent


def test_a_value_that_its_author_has_encoded_is_not_encoded_once_more(rendered):
    for written, sent in (
        ("{{ plan | url_encode }}", "a%2Fb+c%2B%25"),
        ("{% capture c %}{{ plan | url_encode }}{% endcapture %}{{ c }}", "a%2Fb+c%2B%25"),
        ("{{ plan | url_encode | upcase }}", "A%252FB%2BC%252B%2525"),
    ):
        action = f'{{label: Go, url: "https://app.example/{written}"}}'
        assert rendered(action=action, data={"plan": "a/b c+%"}).action_url == f"https://app.example/{sent}"
    shown = rendered("{{ plan | url_encode }}", data={"plan": "a/b c+%"})
    assert markup.markup_text(shown.blocks) == "a%2Fb+c%2B%25"


# -- targets of links ------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path, catalogue):
    """Render a template beside a policy that lists a domain."""

    def render(domains: str | None, body="Hello.", *, data=None, unsubscribe="", **matter):
        folder = tmp_path / "company" / "templates"
        (folder / "setup").mkdir(parents=True, exist_ok=True)
        (folder.parent / "policy.yaml").write_text("" if domains is None else f"link_domains: {domains}")
        (folder / "setup" / "it.md").write_text(source(body, **matter), "utf-8")
        return load_templates(folder).render(message("setup/it", data=data), unsubscribe)

    return render


EVIL = [
    "https://evil.example/login",
    "http://evil.example",
    "https://example.com.evil.example/",
    "https://example.com@evil.example/",
    "https://evil.example#@example.com",
    "https://evil.example/?u=https://example.com/",
    "https://notexample.com/",
    "https://xn--exmple-cua.com/",
    "https://ex%61mple.com/",
    "https://example.com\u3002evil.example/",
    "//example.com/",
    "mailto:help@evil.example",
    "mailto:help@example.com,me@evil.example",
    "mailto:help@example.com?bcc=me@evil.example",
    "tel:+4990012345678",
]


@pytest.mark.parametrize("url", EVIL)
@pytest.mark.parametrize("domains", [None, "[example.com]", "[]"])
def test_a_link_of_a_value_leads_to_no_domain_that_the_policy_does_not_list(listed, domains, url):
    places = [
        {"action": '{label: Go, url: "{{ plan }}"}'},
        {"body": "[go]({{ plan }})", "action": '{label: Go, url: "{{ unsubscribe_url }}"}'},
    ]
    for place in places:
        with pytest.raises(TemplateFault, match="a link m"):
            listed(domains, data={"plan": url}, unsubscribe="https://t.example/u/x", **place)


@pytest.mark.parametrize(
    "url", ["https://example.com/a", "https://APP.example.com:8443/x?y#z", "mailto:help@example.com?subject=Hi"]
)
def test_a_link_of_a_value_may_lead_to_a_listed_domain_and_its_subdomains(listed, url):
    action = {"action": '{label: Go, url: "{{ plan }}"}'}
    assert listed("[example.com]", data={"plan": url}, **action).action_url == url
    with pytest.raises(TemplateFault, match="a link may not be sent: it comes from a value"):
        listed(None, data={"plan": url}, **action)


def test_without_a_list_a_link_leads_to_the_hosts_that_the_author_wrote(listed):
    for written in ("https://app.example/{{ plan }}", "https://app.example?p={{ plan }}", "mailto:help@app.example"):
        assert listed(None, action=f'{{label: Go, url: "{written}"}}', data={"plan": "a.b/c"}).action_url
    hidden = ("https://{{ plan }}/", "https://app.example{{ plan }}/", "{{ plan }}//app.example", "https://{{ plan }}")
    values = (".evil.example", "evil.example", "@evil.example", "https:")
    for url, value in (*product(hidden, values), ("https://{{ plan }}/", "intranet")):
        with pytest.raises(TemplateFault, match="a link m"):
            listed(None, action=f'{{label: Go, url: "{url}"}}', data={"plan": value})


def test_our_own_pages_are_always_allowed_and_nothing_else_of_their_host(listed):
    own = "https://tenure.example/u/token"
    action = '{label: Go, url: "{{ unsubscribe_url }}"}'
    assert listed("[example.com]", action=action, unsubscribe=own, data={"plan": "x"}).action_url == own
    with pytest.raises(TemplateFault, match="a link m"):
        listed("[example.com]", action='{label: Go, url: "{{ plan }}"}', unsubscribe=own, data={"plan": own + "2"})


def test_a_template_that_links_to_an_unlisted_domain_is_a_problem_with_its_line(listed):
    with pytest.raises(TemplateProblems) as found:
        listed("[example.com]", "Look [here](https://elsewhere.example/x).")
    assert [str(item.message) for item in found.value.problems] == [
        f"a link leads to {host}, which policy.yaml does not list under link_domains"
        for host in ("app.example", "elsewhere.example")
    ]


def test_no_journey_can_give_the_link_that_tenure_makes(listed):
    for name in ("confirm_url", "confirm_topic", "unsubscribe_url"):
        with pytest.raises(TemplateProblems, match=f"{name} is given by Tenure"):
            listed(None, variables=f"{{{name}: {{type: string}}}}")
    action = '{label: Go, url: "{{ confirm_url }}"}'
    with pytest.raises(NoOpenRequest):
        listed(None, action=action, data={"plan": "x", "confirm_url": "https://app.example/y"})


def test_a_long_subject_is_cut_to_250_characters(rendered):
    assert len(rendered(subject='"{{ plan }}"', data={"plan": "x" * 8_000}).subject) == 250


def test_an_empty_subject_is_a_fault(rendered):
    with pytest.raises(TemplateFault, match="the subject is empty"):
        rendered(subject='"{{ plan }}"', data={"plan": " "})


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "{% for i in (1..1000000000) %}x{% endfor %}",
        "{% for i in (1..1000000000) reversed %}x{% endfor %}",
        "{% for i in (1..900) %}{% for j in (1..900) %}{% assign k = j %}{% endfor %}{% endfor %}",
        "{% for i in (1..900) %}" + "x" * 1_000 + "{% endfor %}",
        '{{ (1..1000000000) | join: "" }}',
        '{% assign a = "aa" %}{% for i in (1..900) %}{% assign a = a | append: a %}{% endfor %}',
        "{% assign n = 9 %}{% for i in (1..900) %}{% assign n = n | times: n %}{% endfor %}",
        "{{ plan" + ' | replace: "a", "' + "a" * 100 + '"' * 1 + (' | replace: "a", "' + "a" * 100 + '"') * 9 + " }}",
        '{{ plan | split: "" | join: plan | split: "" | join: plan }}',
    ],
)
def test_a_template_that_exceeds_its_time_or_memory_limits_is_stopped(rendered, body):
    with pytest.raises(TemplateFault, match="over its limits"):
        rendered(body, data={"plan": "a" * 1_000})


def test_a_rendering_fault_does_not_contain_the_value(rendered):
    with pytest.raises(TemplateFault) as caught:
        rendered("{{ plan | date: 7 | divided_by: 0 }}", data={"plan": "secret@example.com"})
    assert "secret" not in str(caught.value)


# -- governance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["retired", "draft"])
def test_only_a_live_template_can_be_sent(rendered, status):
    with pytest.raises(TemplateFault, match=f"setup/it is {status}"):
        rendered(status=status)


def test_an_unknown_template_cannot_be_sent(catalogue):
    with pytest.raises(TemplateFault, match="setup/nope is not in the catalogue"):
        catalogue(it=source()).render(message("setup/nope"))


def test_a_template_past_its_review_date_is_listed_and_can_be_sent(catalogue):
    templates = catalogue(
        old=source(review_date="2026-03-01"),
        older=source(review_date="2026-02-01"),
        gone=source(review_date="2025-01-01", status="retired"),
        good=source(),
    )
    assert [template.name for template in templates.due_for_review(date(2026, 6, 1))] == ["setup/older", "setup/old"]
    assert templates.render(message("setup/old")).subject == "One step is left"


def test_the_fields_that_a_template_reads_are_found_without_rendering(catalogue):
    body = """{% if profile.plan == "pro" %}{{ account.seats }}{% endif %}
    {% for step in profile.steps %}{{ step.name }}{% endfor %}
    {% assign who = profile["first_name"] %}{{ who }}"""
    templates = catalogue(
        it=source(
            body, subject='"{{ account.name }}"', action='{label: "{{ profile.verb }}", url: "{{ account.url }}"}'
        )
    )
    assert templates["setup/it"].fields_read == {
        *("profile.plan", "profile.steps", "profile.first_name", "profile.verb"),
        *("account.seats", "account.name", "account.url"),
    }


def test_template_info_lists_optional_and_required_variables_for_the_checker(tmp_path, catalogue):
    variables = (
        "{error: {type: string, default: none}, plan: {type: string}, profile.name: {type: string, default: you}}"
    )
    catalogue(it=source("{{ profile.name }} {{ account.seats }}", variables=variables))
    assert template_infos(tmp_path) == {
        "setup/it": TemplateInfo(
            name="setup/it",
            variables=frozenset({"error", "plan"}),
            required=frozenset({"plan"}),
            fields=frozenset({"profile.name", "account.seats"}),
            topic="onboarding",
            channels=("email", "in_app"),
            stage="setup",
            role="admin",
            owner="onboarding-team",
            status="live",
            review_date=date(2026, 12, 31),
            types={"error": "string", "plan": "string"},
        )
    }


NAMES = sorted({re.split("[@.]", path.relative_to(SHIPPED).as_posix())[0] for path in SHIPPED.rglob("*.md")})


def test_every_shipped_template_is_loaded():
    assert sorted(shipped_catalog.parsed_templates()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_template_renders_for_a_person_without_fields(name):
    template = shipped_catalog.parsed_templates()[name]
    examples = {
        "string": "x",
        "int": 3,
        "double": 1.5,
        "bool": True,
        "timestamp": "2026-05-03T09:00:00Z",
        "strings": ["x"],
    }
    given = {key: examples[template.matter.variables[key].type] for key in template.info().required}
    asked = Confirmation("https://tenure.example/y/t", "Offers")
    content = shipped_catalog.parsed_templates().render(replace(message(name, data=given), confirm=asked))
    assert content.subject
    assert "{" not in markup.markup_text(content.blocks)


# -- problems of the files -------------------------------------------------------------------------------------------


def test_every_problem_of_every_file_is_reported_at_once_with_its_line(catalogue):
    with pytest.raises(TemplateProblems) as caught:
        catalogue(one=source(owner="No Name", status="lively"), two=source("fine\n{{ plan }}\n{{ nope }}\n{{ other }}"))
    listed = [
        (problem.file.rpartition("/")[2], problem.line, problem.message.partition(":")[0])
        for problem in caught.value.problems
    ]
    assert listed == [("one.md", 2, "owner"), ("one.md", 8, "status"), ("two.md", 15, "body"), ("two.md", 16, "body")]
    assert "two.md:15: body: 'nope' is not declared under variables" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("Hello.", 1, "front matter"),
        ("---\n---\nHello.", 1, "front matter"),
        ("---\nowner: [a\n---\nx", 3, "expected"),
        ("---\na: &x [1]\nb: *x\n---\nx", 1, "aliases"),
        (source(colour="red"), 12, "colour: Extra inputs"),
        (source(topic=None), 1, "topic: Field required"),
        (source(action="{label: Go}"), 6, "action.url: Field required"),
        (source(review_date="1767225600"), 7, "review_date"),
        (source(channels="[email, fax]"), 9, "channels.1"),
        (source(subject='"a\\nb"'), 10, "subject: String should match"),
        (source(variables="{n: {type: int, default: many}}"), 11, "variables.n: Value error, the default is not a int"),
        (source(variables="{event.x: {type: int}}"), 11, "variables.event.x"),
        (source(subject='"{{ nope }}"'), 10, "subject: 'nope' is not declared"),
        (source(action='{label: Go, url: "{{ nope }}"}'), 6, "action.url: 'nope' is not declared"),
        (source("a\nb {% include 'x' %}"), 14, "body: unexpected tag 'include'"),
        (source("a\n{{ plan | shout }}"), 14, "body: unknown filter 'shout'"),
        (source("a\n\n{% if plan %}"), 15, "body: expected tag endif"),
        (source("{{ profile }}"), 13, "body: name a field of profile"),
        (source("{{ account[plan] }}"), 13, "body: name a field of account"),
        (source("{% assign p = profile %}{{ p.x }}"), 13, "body: name a field of profile"),
        (source(" "), 13, "body: is empty"),
        (source("x" * 64_000), 1, "larger than"),
    ],
)
def test_a_problem_has_a_line_and_a_message(problems, content, line, words):
    listed = problems(content)
    assert any(at == line and words in message for at, message in listed), listed


def test_a_file_name_that_is_no_valid_template_name_is_a_problem(catalogue):
    with pytest.raises(TemplateProblems, match="is not a template's name"):
        catalogue(**{"First Steps": source()})


def test_a_file_that_is_not_utf_8_is_a_problem(tmp_path):
    (tmp_path / "it.md").write_bytes(b"---\n\xff")
    with pytest.raises(TemplateProblems, match="is not UTF-8"):
        load_templates(tmp_path)
