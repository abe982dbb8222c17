"""Serves the tickets of a turn tree: a wrong attempt hears what is wrong with it, then the policy tries once more."""

from __future__ import annotations

from msgspec.structs import replace

from pipeline.engine import Completion, Request
from stages.judges.calls import answer_each
from stages.search.answering import Answering, Spent
from stages.search.fields import Critique
from stages.search.tickets import Answer, Ticket, Turn, request_seed
from stages.search.tool_results import tool_result
from stages.search.turns import conversation, critique_question, ids_between, observation, states


class Conversing(Answering):
    """Answers tickets of mode ultra. Turns are messages: the engine's chat template puts them together, and the token
    ids between two attempts are read from the prompt it made."""

    async def answer(self, ticket: Ticket) -> Answer:
        """See Answering; with what was said to the last attempt."""
        if not ticket.turns:
            return await super().answer(ticket)
        spent = Spent()
        heard = await self._heard(ticket, spent)
        ticket = replace(ticket, turns=(*ticket.turns[:-1], heard))
        messages = conversation(self.prompt, ticket.turns)
        samples = await self._sampled(replace(self._request_of(ticket), messages=messages, token_ids=None))
        if isinstance(samples, str):
            return Answer((), spent.prompt_tokens, 0, spent.eval_tokens, samples, heard.observation)
        answer = await self._read(samples, ticket, spent)
        between = ids_between(samples[0].prompt_token_ids, (*(self.prompt_ids or ()), *ticket.prefix_ids))
        if between is None:
            self.ctx.count("turn:other_tokens")
        return replace(answer, observation=heard.observation, observation_ids=between or ())

    async def _heard(self, ticket: Ticket, spent: Spent) -> Turn:
        """The last attempt with what is said to it."""
        turn, critique = ticket.turns[-1], self.fields.critique()
        said = await self._criticism(critique, ticket, spent) if critique else None
        name = f"{self.tree_id}:{ticket.path}:tools"
        tools = await tool_result(turn.attempt, self.fields.observe.tools, name, self.ctx)
        return replace(turn, observation=observation(self.fields.observe, self.prompt, turn, tools, said))

    async def _criticism(self, critique: Critique, ticket: Ticket, spent: Spent) -> str | None:
        """What the reviewer says; None where it says nothing, or states the reference's answer that it was shown."""
        request = Request(
            sampling=critique.sampling,
            key=f"{self.tree_id}:{ticket.path}:critique:{ticket.attempt}",
            seed=request_seed(self.ctx.run_seed, self.tree_id, ticket.path, "critique", ticket.attempt),
            messages=critique_question(critique, self.prompt, ticket.turns),
        )
        [reply] = await answer_each(self.ctx.engines[critique.engine or self.fields.engine], [request])
        text, status = None, "refused"
        if isinstance(reply, Completion):
            spent.add([reply])
            text = reply.text.strip()
            secret = (
                self.reference.text if self.reference and critique.hint and not self.fields.observe.reveal else None
            )
            status = "leak" if secret and states(text, secret) else "ok" if text else "empty"
        self.ctx.count(f"critique:{status}")
        return text if status == "ok" else None
