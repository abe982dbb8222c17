"""From one row of input to its records: a prompt, and the candidates, scores or pair that came with it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.records import Candidate, Judgment, Message, Prompt, Record, Reject, Source
from stages.contexts.system_message import with_system
from stages.pairs.gate import Arm, Gate, text_refusal
from stages.pairs.joint_pairs import joint_pair
from stages.sources.columns import Columns, Row, conversation, getter, number, optional_text, parallel, text
from stages.sources.imports import candidate, talk
from stages.sources.recorded import recorded_tree

NO_RULES = Gate()
PAIR = ("chosen", "rejected", "rejected_prompt", "chosen_score", "rejected_score")


class RowReader:
    """Makes the records of rows. `where`: file and line, for messages; `row_id`: used where no column is mapped."""

    def __init__(
        self, columns: Columns, job: str, source: Source, score_range: tuple[float, float] | None = None
    ) -> None:  # fmt: skip
        self.columns = columns
        self.job = job
        self.source = source
        self.low, self.high = score_range or (0.0, 1.0)
        names = ("prompt", "input", "system", "context", "reference", "row_id", "base", "lang", "license", "tree")
        self._get = {name: getter(getattr(columns, name)) for name in names}
        self._get |= {n: getter(getattr(columns, n)) for n in PAIR}
        self._keep = [(path, getter(path)) for path in columns.keep]
        self._models, self._scores = parallel(columns.models), parallel(columns.scores)
        self._inside = [
            getter(columns.candidate_text),
            getter(columns.candidate_model),
            getter(columns.candidate_score),
        ]
        given = columns.candidates
        self._paths: list[tuple[str, Any]] = []
        if isinstance(given, (tuple, dict)):
            pairs = given.items() if isinstance(given, dict) else ((p.rpartition(".")[0] or p, p) for p in given)
            self._paths = [(model, getter(path)) for model, path in pairs]
        self._list = getter(given) if isinstance(given, str) else None

    def records(self, row: Row, where: str, row_id: str) -> list[Record]:
        """The prompt first, then what came with it. Raises Rejected when the row is no prompt or nothing remains."""
        if self.columns.chosen is not None:
            return self._pair(row, row_id)
        prompt = self._prompt(row, self._asked(row), row_id)
        made: list[Record] = [prompt]
        if self.columns.candidates is not None:
            made += self._candidates(row, prompt, where)
        if self.columns.tree is not None:
            separator = "\n\n" if self.columns.tree_separator is None else self.columns.tree_separator
            made += recorded_tree(self._get["tree"](row), prompt, self.job, separator)
        return made

    def _asked(self, row: Row) -> tuple[Message, ...]:
        value = self._get["prompt"](row)
        if not isinstance(value, (list, tuple)):
            asked = text(value, "prompt")
            more = optional_text(self._get["input"](row), "input")
            return (Message("user", f"{asked}\n\n{more}" if more else asked),)
        messages = conversation(value, "prompt")
        if messages[-1].role == "assistant":
            raise Rejected(
                "prompt_answered", "the prompt ends with an assistant message; it must end with the question"
            )
        return messages

    def _prompt(self, row: Row, asked: tuple[Message, ...], row_id: str) -> Prompt:
        get = self._get
        system = optional_text(get["system"](row), "system")
        context = optional_text(get["context"](row), "context")
        base = with_system(system, asked) if system else asked
        messages = with_system(context, base) if context else base
        base_id = ids.prompt_id(base)
        given_id = optional_text(get["row_id"](row), "row_id")
        lang, licence = get["lang"](row), get["license"](row)
        kept = {path: value for path, find in self._keep if (value := find(row)) is not None}
        if context:
            kept["context"] = context
        source = self.source
        return Prompt(
            prompt_id=ids.prompt_id(messages) if context else base_id,
            base_prompt_id=optional_text(get["base"](row), "base") or base_id,
            messages=messages,
            reference=optional_text(get["reference"](row), "reference"),
            context_id=ids.content_hash("given", context, []) if context else None,
            source=Source(
                source.dataset, source.subset, given_id or row_id,
                licence if isinstance(licence, str) else source.license, lang if isinstance(lang, str) else source.lang,
            ),
            ext_json=msgspec.json.encode(kept, enc_hook=str, order="deterministic").decode() if kept else None,
        )  # fmt: skip

    def _candidates(self, row: Row, prompt: Prompt, where: str) -> list[Record]:
        made: list[Record] = []
        refused: list[Record] = []
        for index, (model, value, score) in enumerate(self._given(row)):
            try:
                answer = text(value, "candidate")
            except Rejected as why:
                detail = f"{where} candidate {model or index + 1}: {why.detail}"
                refused.append(Reject(prompt.prompt_id, self.job, "candidate", why.reason, detail))
                continue
            found = candidate(prompt, self.job, model, index, answer)
            made.append(found)
            if self.columns.scores or self.columns.candidate_score:
                made.append(self._judgment(found, score))
        if not made:
            raise Rejected(
                "no_candidate", "; ".join(r.detail for r in refused if isinstance(r, Reject))[:500] or "none given"
            )
        return made + refused

    def _given(self, row: Row) -> list[tuple[str | None, Any, Any]]:
        """(model, text, score) of each candidate as the row gives it."""
        if self._list is None:
            values: Sequence[Any] = [find(row) for _, find in self._paths]
            models: Sequence[Any] = self._models(row) or [model for model, _ in self._paths]
        else:
            values, models = self._list(row), self._models(row)
            if not isinstance(values, (list, tuple)):
                raise Rejected("no_candidate", f"candidates is {type(values).__name__}, not a list")
        scores = self._scores(row)
        found = []
        for i, value in enumerate(values):
            model, score = models[i] if i < len(models) else None, scores[i] if i < len(scores) else None
            if isinstance(value, dict):
                inner, its_model, its_score = (find(value) for find in self._inside)
                value, model, score = inner, its_model or model, score if its_score is None else its_score
            found.append((model if isinstance(model, str) else None, value, score))
        return found

    def _judgment(self, candidate: Candidate, given: Any) -> Judgment:
        score = number(given)
        inside = score is not None and self.low <= score <= self.high
        status = "ok" if inside else "na" if given is None else "parse_error" if score is None else "out_of_range"
        return Judgment(
            prompt_id=candidate.prompt_id,
            judgment_key=ids.content_hash("given/1", candidate.candidate_id, str(given)),
            job=self.job,
            mode="aspect",
            judge_id="given",
            cand_ids=(candidate.candidate_id,),
            status=status,  # type: ignore[arg-type]
            value=score if inside else None,
            scale_min=self.low,
            scale_max=self.high,
            aspect="given",
        )

    def _pair(self, row: Row, row_id: str) -> list[Record]:
        sides = [self._side(row, name) for name in ("chosen", "rejected")]
        talks = [before for before, _ in sides if before]
        if len(talks) == 2 and talks[0] != talks[1]:
            raise Rejected("prompt_differs", "chosen and rejected do not answer the same conversation")
        asked = talks[0] if talks else self._asked(row) if self.columns.prompt else ()
        if not asked:
            raise Rejected("missing_prompt", "chosen is no conversation and no prompt column is mapped")
        if talks and self.columns.prompt and _turns(asked) != _turns(self._asked(row)):
            raise Rejected("prompt_differs", "the prompt is not the conversation that chosen and rejected answer")
        prompt = self._prompt(row, asked, row_id)
        arms = [Arm(answer) for _, answer in sides]
        if why := text_refusal(arms[0], arms[1], NO_RULES):
            raise Rejected(*why)
        other = prompt
        if self.columns.rejected_prompt is not None:
            asked = (Message("user", text(self._get["rejected_prompt"](row), "rejected_prompt")),)
            other = self._prompt(row, asked, row_id)
        joint = other.prompt_id != prompt.prompt_id
        chosen, rejected = (
            candidate(p, self.job, None, i, arm.text)
            for i, (p, arm) in enumerate(zip((prompt, other), arms, strict=True))
        )
        scores = [self._unit(self._get[f"{name}_score"](row)) for name in ("chosen", "rejected")]
        gap = None if scores[0] is None or scores[1] is None else scores[0] - scores[1]
        pair = joint_pair(
            "given", prompt, ((prompt.messages, chosen), (other.messages, rejected)), label_source="given",
            chosen_score=scores[0], rejected_score=scores[1], score_gap=gap,
            ambiguous=None if gap is None else gap <= 0,
        )  # fmt: skip
        return [prompt, chosen, pair] if joint else [prompt, chosen, rejected, pair]

    def _side(self, row: Row, name: str) -> tuple[tuple[Message, ...], str]:
        """(conversation before the answer, or nothing; the answer) of one side."""
        value = self._get[name](row)
        if not isinstance(value, (list, tuple)):
            return (), text(value, name)
        return talk(value, name)

    def _unit(self, given: Any) -> float | None:
        score = number(given)
        if score is None or not self.low <= score <= self.high:
            return None
        return (score - self.low) / (self.high - self.low)


def _turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in messages if m.role != "system"]
