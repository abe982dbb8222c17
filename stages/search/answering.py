"""Serves the tickets of one tree: engines, checkers and critics are asked, answers cut, judged and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pipeline.engine import Completion, Request
from pipeline.errors import Rejected
from pipeline.records import Prompt
from pipeline.stage import Context
from pipeline.tree import Rollout
from stages.judges.answers import marked_answer
from stages.judges.calls import answer_each, ask_each
from stages.search import critics
from stages.search.children import children, why_dropped
from stages.search.fields import Critic, SearchFields, StepReward
from stages.search.steps import all_steps, first_step, joined, shown, whole
from stages.search.tickets import Answer, Child, Ticket, request_seed
from stages.search.turns import conversation


@dataclass
class Spent:
    """Tokens of one ticket beside those of its own samples."""

    prompt_tokens: int = 0
    eval_tokens: int = 0
    gen_tokens: int = 0  # of what short steps were joined with

    def add(self, samples: Sequence[Completion]) -> None:
        """One request for an evaluation."""
        self.prompt_tokens += samples[0].n_prompt_tokens
        self.eval_tokens += sum([sample.n_tokens for sample in samples])


class Answering:
    """Answers tickets of the search of `prompt`. `prompt_ids`: its token ids, once the engine has told them."""

    def __init__(self, fields: SearchFields, prompt: Prompt, tree_id: str, ctx: Context) -> None:
        self.fields = fields
        self.prompt = prompt
        self.tree_id = tree_id
        self.ctx = ctx
        self.prompt_ids: tuple[int, ...] | None = None
        self.reference = fields.verify.known(prompt.reference) if fields.verify else None

    async def answer(self, ticket: Ticket) -> Answer:
        """What the engines say. Raises Rejected where even the prompt cannot be asked, and EngineError."""
        samples = await self._sampled(self._request_of(ticket))
        return Answer(error=samples) if isinstance(samples, str) else await self._read(samples, ticket, Spent())

    def _request_of(self, ticket: Ticket) -> Request:
        sampling = {"n": ticket.n, "max_tokens": ticket.max_tokens}
        request = self._request((ticket.path, ticket.kind, ticket.attempt), ticket.prefix_ids, sampling)
        return request if ticket.kind == "rollout" or ticket.finish else self._up_to_a_delimiter(request)

    def _up_to_a_delimiter(self, request: Request) -> Request:
        return replace(request, sampling=request.sampling.model_copy(update={"stop": self.fields.delimiters}))

    async def _sampled(self, request: Request) -> list[Completion] | str:
        """The samples, or why the policy can never give any."""
        try:
            [samples] = await self.ctx.engines[self.fields.engine].generate([request])
        except Rejected as refused:
            if self.prompt_ids is None:
                raise
            self.ctx.count(f"refused:{refused.reason}")
            return refused.reason
        finally:
            self.ctx.alive()
        if self.prompt_ids is None:
            whole(samples[0])  # an engine that names no tokens is told before anything is cut
            self.prompt_ids = samples[0].prompt_token_ids or ()
        return samples

    async def _read(self, samples: Sequence[Completion], ticket: Ticket, spent: Spent) -> Answer:
        """The samples cut into steps, each judged."""
        spent.prompt_tokens += samples[0].n_prompt_tokens
        if ticket.kind == "rollout":
            branches = await self._judged(samples, ticket.prefix_text)
        else:
            branches = await self._steps(samples, ticket, spent)
        gen_tokens = spent.gen_tokens + sum([sample.n_tokens for sample in samples])
        return Answer(tuple(branches), spent.prompt_tokens, gen_tokens, spent.eval_tokens)

    def _request(self, name: tuple[str, str, int], after: Sequence[int], sampling: dict[str, int]) -> Request:
        """Samples that go on after the prompt and the tokens `after`. name: path, kind, attempt."""
        path, kind, attempt = name
        known = self.prompt_ids is not None
        return Request(
            sampling=self.fields.sampling.model_copy(update=sampling),
            key=f"{self.tree_id}:{path}:{kind}:{attempt}",
            seed=request_seed(self.ctx.run_seed, self.tree_id, path, kind, attempt),
            messages=None if known else self.prompt.messages,
            token_ids=(*(self.prompt_ids or ()), *after) if known else None,
            want_token_texts=True,
        )

    async def _judged(self, samples: Sequence[Completion], before: str) -> list[tuple[Child, ...]]:
        """Roll-outs as steps, their ends verified; blank ones are left out."""
        branches = [
            all_steps(sample, self.fields.delimiters, self.fields.min_step_tokens)
            for sample in samples
            if sample.text.strip()
        ]
        if blank := len(samples) - len(branches):
            self.ctx.count("dropped:empty", blank)
        texts = [before + "".join([step.text for step in branch]) for branch in branches]
        ends = await asyncio.gather(*[self._verified(b[-1], text) for b, text in zip(branches, texts, strict=True)])
        return [(*branch[:-1], end) for branch, end in zip(branches, ends, strict=True)]

    async def _steps(self, samples: Sequence[Completion], ticket: Ticket, spent: Spent) -> list[tuple[Child, ...]]:
        """The children of an expansion, each evaluated."""
        cut = [whole(s) if ticket.finish else first_step(s, self.fields.delimiters) for s in samples]
        cut = [self._with_answer(child, ticket) for child in cut]
        if self.fields.min_step_tokens:
            cut = await asyncio.gather(*[self._long_enough(c, i, ticket, spent) for i, c in enumerate(cut)])
        for child in cut:
            if why := why_dropped(child, ticket, self.fields):
                self.ctx.count(f"dropped:{why}")
        found = children(cut, ticket, self.fields)
        self.ctx.count("merged", sum([child.multiplicity - 1 for child in found]))
        judged = await asyncio.gather(*[self._evaluated(c, i, ticket, spent) for i, c in enumerate(found)])
        return [(child,) for child in judged]

    async def _long_enough(self, child: Child, index: int, ticket: Ticket, spent: Spent) -> Child:
        """The step, joined with those after it until it has `min_step_tokens` or the answer ends."""
        n, least = len(child.token_ids), min(self.fields.min_step_tokens, ticket.max_tokens)
        while n < least and child.finish_reason == "stop" and child.final_answer is None:
            name = f"{ticket.path}.{index}", f"after:{n}", ticket.attempt
            sampling = {"n": 1, "max_tokens": ticket.max_tokens - n}
            request = self._request(name, (*ticket.prefix_ids, *child.token_ids), sampling)
            samples = await self._sampled(self._up_to_a_delimiter(request))
            if isinstance(samples, str) or not samples[0].n_tokens:
                break
            spent.prompt_tokens += samples[0].n_prompt_tokens
            spent.gen_tokens += samples[0].n_tokens
            child = self._with_answer(joined(child, first_step(samples[0], self.fields.delimiters)), ticket)
            n = len(child.token_ids)
        return child

    def _with_answer(self, child: Child, ticket: Ticket) -> Child:
        """A step that states a marked final answer ends there, whatever the policy would add."""
        check = self.fields.verify
        if not self.fields.end_at_answer or check is None or self.reference is None or check.method == "regex":
            return child
        if child.finish_reason != "stop":
            return child
        line = shown(ticket.prefix_text, child.text, self.fields.delimiters)[1]
        return replace(child, final_answer=marked_answer(line, check.marker))

    async def _evaluated(self, child: Child, index: int, ticket: Ticket, spent: Spent) -> Child:
        """The child with its outcome if it is an end, and with what critics and roll-outs say."""
        fields, path = self.fields, f"{ticket.path}.{index}"
        if child.terminal_reason is not None:
            child = await self._verified(child, ticket.prefix_text + child.text)
        decided = child.outcome is not None or child.terminal_reason not in (None, "answer")
        if decided and fields.values.form == "centred":
            return child
        prompt = self.prompt
        if ticket.turns:
            prompt = replace(prompt, messages=conversation(prompt, ticket.turns))
        asked = critics.Asked(prompt, ticket.prefix_text, child.text, fields.delimiters)
        if fields.self_eval is not None:
            replies = await self._ask(fields.self_eval, "self_eval", path, asked, spent)
            value = critics.self_evaluation(replies, fields.self_eval.min_mass)
            child = replace(child, self_eval=self._told("self_eval", value))
        if fields.judge is not None:
            [reply] = await self._ask(fields.judge, "judge", path, asked, spent)
            child = replace(child, judge_score=self._told("judge", critics.grade(reply, fields.judge)))
        if fields.reward is not None:
            child = replace(child, prm_score=await self._rewarded(fields.reward, path, asked))
        if fields.rollouts and child.terminal_reason is None:
            child = replace(child, rollouts=await self._rollouts(child, path, ticket, spent))
        return child

    async def _rewarded(self, model: StepReward, path: str, asked: critics.Asked) -> float | None:
        """The reward model's score of the step on [0, 1]; None, and counted, where it gives none."""
        request = critics.reward_request(model, asked, f"{self.tree_id}:{path}:reward:0")
        [found] = await ask_each(self.ctx.engines[model.engine].reward, [request])
        if isinstance(found, Rejected):
            self.ctx.count(f"reward:{found.reason}")
            return None
        if (score := critics.step_score(found)) is None:
            self.ctx.count("reward:no_number")
        return score

    def _told(self, what: str, value: float | None) -> float | None:
        if value is None:
            self.ctx.count(f"{what}:no_option")
        return value

    async def _ask(
        self, critic: Critic, kind: str, path: str, asked: critics.Asked, spent: Spent
    ) -> list[critics.Reply]:
        requests = [
            Request(
                sampling=critic.sampling,
                key=f"{self.tree_id}:{path}:{kind}:{question.order}",
                seed=request_seed(self.ctx.run_seed, self.tree_id, path, kind, question.order),
                messages=question.messages,
                labels=question.labels,
            )
            for question in critics.questions(critic, asked)
        ]
        replies = await answer_each(self.ctx.engines[critic.engine or self.fields.engine], requests)
        for reply in replies:
            if isinstance(reply, Completion):
                spent.add([reply])
        return replies

    async def _rollouts(self, child: Child, path: str, ticket: Ticket, spent: Spent) -> tuple[Rollout, ...]:
        """Completions of the child to their ends; none where they do not fit."""
        after = (*ticket.prefix_ids, *child.token_ids)
        sampling = {"n": self.fields.rollouts, "max_tokens": max(1, self.fields.max_tokens - len(after))}
        try:
            [samples] = await self.ctx.engines[self.fields.engine].generate(
                [self._request((path, "rollout", 0), after, sampling)]
            )
        except Rejected as refused:
            self.ctx.count(f"refused:{refused.reason}")
            return ()
        spent.add(samples)
        before = ticket.prefix_text + child.text
        ends = await asyncio.gather(*[self._verified(whole(s), before + s.text) for s in samples])
        return tuple(
            Rollout(end.text, end.token_ids, end.outcome, end.final_answer, end.finish_reason, end.logprob_sum)
            for end in ends
        )

    async def _verified(self, end: Child, text: str) -> Child:
        """An end with the answer that `text` states and its outcome: +1, -1, None where it cannot be decided."""
        if self.fields.verify is None:
            return end
        finish = "stop" if end.finish_reason in ("eos", "stop") else "length"
        answer, (equal, status) = await self.fields.verify.verdict(text, finish, self.reference, self.ctx)
        self.ctx.count(f"verify:{status}")
        outcome = {True: 1, False: -1, None: None}[equal]
        return replace(end, outcome=outcome, final_answer=answer.text if answer else end.final_answer)
