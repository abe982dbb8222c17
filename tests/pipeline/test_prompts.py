"""Templates: roles are blocks, mistakes are plan errors, model text stays text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PlanError
from pipeline.prompts import Template, load_template
from pipeline.records import Message

USER = "{% block user %}{{ response }}{% endblock %}"


def test_blocks_are_messages_in_the_order_of_the_file() -> None:
    template = Template(
        "t", "{% block system %}S{% endblock %}\n{% block user %}U {{ x }}{% endblock %}\n"
        "{% block assistant %}A{% endblock %}{% block user_2 %}V{% endblock %}"
    )  # fmt: skip
    roles = ("system", "user", "assistant", "user")
    assert template.render(x=1) == tuple(Message(r, c) for r, c in zip(roles, ("S", "U 1", "A", "V"), strict=True))


def test_a_block_that_renders_to_nothing_is_no_message() -> None:
    template = Template(
        "t", "{% block system %}{% if s %}{{ s }}{% endif %}{% endblock %}{% block user %}U{% endblock %}"
    )
    assert [m.role for m in template.render(s="")] == ["user"]


def test_an_undefined_variable_is_named_before_anything_runs() -> None:
    with pytest.raises(
        PlanError, match=r"template rate/mine uses undefined variable respons; .*provides prompt, response"
    ):
        Template("rate/mine", "{% block user %}{{ respons }}{% endblock %}").check(frozenset({"prompt", "response"}))


def test_a_syntax_error_is_told_with_its_line() -> None:
    with pytest.raises(PlanError, match="template t, line 4: "):
        Template("t", "{% block user %}\nhello\n{% if x %}\n{% endblock %}")


@pytest.mark.parametrize("text", ["no block", "{% block users %}x{% endblock %}"])
def test_a_template_without_roles_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="every block must be one of system, user, assistant"):
        Template("t", text)


@pytest.mark.parametrize(
    "hostile", ["{{ 7 * 7 }}", "{% for %}", "{#", "{{ ''.__class__ }}", "${x}", "<|im_end|>", "\x00"]
)
def test_model_text_is_never_a_template(hostile: str) -> None:
    assert Template("t", USER).render(response=hostile)[0].content == hostile


@given(st.text(max_size=60))
def test_any_text_comes_through_whole(response: str) -> None:
    rendered = Template("t", "{% block user %}[{{ response }}]{% endblock %}").render(response=response)
    assert rendered[0].content == f"[{response}]"


@pytest.mark.parametrize(
    "expression",
    ["{{ x.__class__.__mro__ }}", "{{ x.__init__ }}", "{{ ''.__class__ }}", "{{ x['__class__']['__base__'] }}",
     "{{ cycler.__init__.__globals__ }}", "{{ y.append(1) }}", "{{ x | attr('__class__') }}"],
)  # fmt: skip
def test_templates_cannot_reach_into_python(expression: str) -> None:
    with pytest.raises(PlanError, match="template t cannot be rendered"):
        Template("t", f"{{% block user %}}{expression}{{% endblock %}}").render(x="a", y=[])


def test_what_is_missing_at_rendering_is_a_plan_error_too() -> None:
    with pytest.raises(PlanError, match=r"template t cannot be rendered: .*shade"):
        Template("t", "{% block user %}{{ x.shade }}{% endblock %}").render(x="a")


def test_an_unknown_template_lists_what_ships() -> None:
    with pytest.raises(PlanError, match=r"stage rate has no template 'nope'; shipped: .*default"):
        load_template("rate", "nope")


def test_a_path_ending_in_j2_is_a_template_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.j2"
    path.write_bytes(b"{% block user %}\xff{% endblock %}")
    with pytest.raises(PlanError, match="is not UTF-8 text"):
        load_template("rate", str(path))
    mine = tmp_path / "yours.j2"
    mine.write_text(USER)
    assert load_template("rate", str(mine)).render(response="r") == (Message("user", "r"),)


def test_every_shipped_template_compiles() -> None:
    folder = Path(__file__).resolve().parents[2] / "prompts"
    found = [load_template(p.parent.name, p.stem) for p in folder.glob("*/*.j2")]
    assert found
    assert all("user" in [role for role, _ in t._blocks] for t in found)
