"""search: a prompt becomes a tree of reasoning steps (Monte-Carlo tree search; spec mcts).

Each tree is a state machine of its own (stages/search/machine.py): given the same answers it is the same tree, whatever
the order of completion, the number of trees under way, or the executor.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import msgspec
from msgspec.structs import replace

from pipeline import ids
from pipeline.errors import PlanError
from pipeline.prompts import Template
from pipeline.records import Prompt
from pipeline.stage import Context, Example, Stage
from pipeline.tree import Node, Tree
from stages.search.answering import Answering, grow
from stages.search.fields import SearchFields
from stages.search.machine import TreeSearch
from stages.search.rows import rows


class Search(SearchFields, Stage):
    """Trees, and their nodes. A prompt that cannot be asked at all is a reject.

    Counts: `tree:<status>`, `end:<terminal reason>`, `verify:<status>`, `dropped:<reason>` (samples that are no steps),
    `merged` (samples equal to a sibling), `refused:<reason>` (requests that an engine can never answer), and
    `self_eval:no_option`, `judge:no_option`, `reward:<reason>` (steps that the reward model gave no number).
    """

    version: ClassVar[int] = 1
    not_identity: ClassVar[frozenset[str]] = frozenset({"max_trees", "journal"})
    template_variables: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "prefix", "step", "reference", "option_a", "option_b", "options"}
    )

    def check(self) -> None:
        """Raises PlanError for fields that contradict each other."""
        if self.mode == "ultra":
            raise PlanError("search: mode ultra needs an environment that answers attempts, which this stage has not")
        if given := self.sampling.model_fields_set & {"n", "max_tokens", "stop", "include_stop"}:
            raise PlanError(
                f"search: sampling sets {', '.join(sorted(given))}; number, length and end of steps are set by "
                "width, step_tokens, max_tokens and delimiters"
            )
        if self.verify is None and self.reward is None and not self.critics():
            raise PlanError("search: nothing gives values; set verify, self_eval, judge or reward")
        if self.verify is not None:
            self.verify.check()

    def engines(self) -> tuple[str, ...]:
        """The policy, then the critics' engines, then the reward model's."""
        return tuple(dict.fromkeys((self.engine, *self._evaluators())))

    def capabilities(self, alias: str) -> frozenset[str]:
        """`token_texts` of the policy, `labels` of a critic, `reward` of a reward model."""
        needed: set[str] = {"generate", "token_texts"} if alias == self.engine else set()
        if alias in [critic.engine or self.engine for critic in self.critics()]:
            needed |= {"generate", "labels"}
        return frozenset(needed | ({"reward"} if self.reward is not None and alias == self.reward.engine else set()))

    def templates(self) -> tuple[Template, ...]:
        """The critics'."""
        return tuple([critic.prompts() for critic in (self.self_eval, self.judge) if critic is not None])

    def at_once(self) -> int | None:
        """As configured."""
        return self.max_trees

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Tree | Node]:
        """The tree and its nodes in order of creation. Raises Rejected and EngineError."""
        identity = self._identity(example.prompt, ctx)
        search = TreeSearch(self, identity.tree_id, ctx.run_seed)
        answering = Answering(self, example.prompt, identity.tree_id, ctx)
        await grow(search, answering.answer)
        tree, nodes = rows(search, replace(identity, prompt_token_ids=answering.prompt_ids or ()))
        ctx.count(f"tree:{tree.status}")
        for node in nodes:
            if node.terminal_reason is not None:
                ctx.count(f"end:{node.terminal_reason}")
        return [tree, *nodes]

    def _evaluators(self) -> list[str]:
        reward = [] if self.reward is None else [self.reward.engine]
        return [*[critic.engine or self.engine for critic in self.critics()], *reward]

    def _identity(self, prompt: Prompt, ctx: Context) -> Tree:
        config_hash = ids.content_hash("search/1", self.version, self._config)
        policy, judges = ctx.engine_models.get(self.engine), self._evaluators()
        return Tree(
            prompt_id=prompt.prompt_id,
            tree_id=ids.content_hash("tree/1", prompt.prompt_id, ctx.job, config_hash, policy, ctx.run_seed),
            job=ctx.job,
            config_json=self._config,
            config_hash=config_hash,
            policy_model=policy,
            judge_model=ctx.engine_models.get(judges[0]) if judges else None,
            seed=ctx.run_seed,
            hinted=prompt.reference is not None and any(critic.hint for critic in self.critics()),
        )

    @cached_property
    def _config(self) -> str:
        fields = self.model_dump(mode="json", exclude=set(self.not_identity))
        return msgspec.json.encode(fields, order="deterministic").decode()
