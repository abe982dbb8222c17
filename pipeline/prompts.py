"""Templates: the prompt texts of `prompts/<stage>/<name>.j2`. A file is text with Jinja blocks; a block is one message.

`{% block system %}…{% endblock %}{% block user %}…{% endblock %}` renders to a system and a user message, in file
order. Further turns are named `user_2`, `assistant_2` …: the role is what stands before the first underscore.
Model text enters only as a variable of a sandboxed environment; it is never compiled.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes
import jinja2.sandbox

from pipeline.errors import PlanError
from pipeline.records import Message

ROOT = Path(__file__).resolve().parent.parent / "prompts"
ROLES = ("system", "user", "assistant")


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    return jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )


class Template:
    """One prompt file, compiled. `text` is the whole source, which goes into the recipe of the job that uses it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        environment = _environment()
        try:
            tree = environment.parse(text)
            template = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise PlanError(f"template {name}, line {error.lineno}: {error.message}") from None
        self.variables = frozenset(jinja2.meta.find_undeclared_variables(tree))
        blocks = list(tree.find_all(jinja2.nodes.Block))
        if not blocks or any(_role(block) not in ROLES for block in blocks):
            found = ", ".join(block.name for block in blocks) or "none"
            raise PlanError(f"template {name} has blocks: {found}; every block must be one of {', '.join(ROLES)}")
        self._template = template
        # A block that says the same every time is rendered once.
        self._fixed = {b.name: self._text(b.name, {}) for b in blocks if b.find(jinja2.nodes.Name) is None}
        self._blocks = [(_role(block), block.name) for block in blocks]

    @property
    def begins_answer(self) -> bool:
        """Whether its last block is the assistant's: the answer begins with it."""
        return self._blocks[-1][0] == "assistant"

    def check(self, provided: frozenset[str]) -> None:
        """Raises PlanError when the template uses a variable its stage does not provide."""
        if unknown := self.variables - provided:
            raise PlanError(
                f"template {self.name} uses undefined variable {', '.join(sorted(unknown))}; "
                f"its stage provides {', '.join(sorted(provided))}"
            )

    def render(self, **variables: Any) -> tuple[Message, ...]:
        """The messages of one request. Blocks that render to nothing are left out. Raises PlanError."""
        rendered = [(role, self._fixed.get(name) or self._text(name, variables)) for role, name in self._blocks]
        return tuple([Message(role, content) for role, content in rendered if content])

    def _text(self, block: str, variables: dict[str, Any]) -> str:
        context = self._template.new_context(variables, shared=True)  # without Jinja's globals, which no prompt needs
        try:
            return "".join(self._template.blocks[block](context)).strip("\n")
        except (jinja2.TemplateError, TypeError) as error:  # a fault of the template: no row is to blame
            raise PlanError(f"template {self.name} cannot be rendered: {error}") from None


def _role(block: jinja2.nodes.Block) -> str:
    return block.name.split("_")[0]


@functools.cache
def load_template(stage: str, name: str) -> Template:
    """The template `name` of `stage`: a file shipped under prompts/<stage>/, or the path of a file ending in .j2.

    Raises PlanError with the names that exist.
    """
    path = Path(name) if name.endswith(".j2") else ROOT / stage / f"{name}.j2"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        known = ", ".join(sorted(p.stem for p in (ROOT / stage).glob("*.j2"))) or "none"
        raise PlanError(
            f"stage {stage} has no template {name!r}; shipped: {known}; or give the path of a .j2 file"
        ) from None
    except UnicodeDecodeError:
        raise PlanError(f"template {path} is not UTF-8 text") from None
    return Template(f"{stage}/{Path(name).stem}", text)
