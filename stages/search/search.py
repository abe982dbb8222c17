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
from stages.search.answering import Answering
from stages.search.conversing import Conversing
from stages.search.fields import SearchFields
from stages.search.growing import grow
from stages.search.machine import TreeSearch
from stages.search.rows import rows


class Search(SearchFields, Stage):
    """Trees, and their nodes. A prompt that cannot be asked at all is a reject.

    Counts: `not_drawn`, `tree:<status>`, `end:<terminal reason>`, `verify:<status>`, `dropped:<reason>` (samples that
    are no steps), `merged` (samples equal to a sibling), `refused:<reason>` (requests that an engine can never answer),
    `self_eval:no_option`, `judge:no_option`, `reward:<reason>` (steps that the reward model gave no number), and in mode
    ultra `program:<status>` (of attempts), `critique:<status>` (ok, empty, refused, leak: it stated the reference's
    answer and was left out) and `turn:other_tokens` (the chat template wrote an attempt in other tokens).
    """

    version: ClassVar[int] = 1
    not_identity: ClassVar[frozenset[str]] = frozenset({"max_trees", "journal"})
    template_variables: ClassVar[frozenset[str]] = frozenset(
        "prompt prefix step reference option_a option_b options attempt answer tools critique".split()
    )

    def check(self) -> None:
        """Raises PlanError for fields that contradict each other."""
        if self.mode == "ultra":
            self._check_turns()
        if given := self.sampling.model_fields_set & {"n", "max_tokens", "stop", "include_stop"}:
            raise PlanError(
                f"search: sampling sets {', '.join(sorted(given))}; number, length and end of steps are set by "
                "width, step_tokens, max_tokens and delimiters"
            )
        if self.verify is None and self.reward is None and not self.critics():
            raise PlanError("search: nothing gives values; set verify, self_eval, judge or reward")
        if self.verify is not None:
            self.verify.check()

    def _check_turns(self) -> None:
        if self.verify is None:
            raise PlanError("search: mode ultra goes on from attempts that are known to be wrong; set verify")
        example = self.observe.prompts().render(answer="1", reference=None, tools=None, critique=None)
        if [message.role for message in example] != ["user"]:
            raise PlanError(f"template observe/{self.observe.template}: what is said to an attempt is one user block")

    def engines(self) -> tuple[str, ...]:
        """The policy, then the engines of critics, reward model and reviewer."""
        reviewer = [critique.engine or self.engine] if (critique := self.critique()) else []
        return tuple(dict.fromkeys((self.engine, *self._evaluators(), *reviewer)))

    def capabilities(self, alias: str) -> frozenset[str]:
        """`token_texts` of the policy, `labels` of a critic, `reward` of a reward model."""
        needed: set[str] = {"generate", "token_texts"} if alias == self.engine else set()
        if (critique := self.critique()) and alias == critique.engine:
            needed.add("generate")
        if alias in [critic.engine or self.engine for critic in self.critics()]:
            needed |= {"generate", "labels"}
        return frozenset(needed | ({"reward"} if self.reward is not None and alias == self.reward.engine else set()))

    def templates(self) -> tuple[Template, ...]:
        """The critics', and in mode ultra those of what is said to attempts."""
        asked = (self.self_eval, self.judge, self.observe if self.mode == "ultra" else None, self.critique())
        return tuple([each.prompts() for each in asked if each is not None])

    def at_once(self, batch: int | None) -> int | None:
        """As configured, else a tree for each sequence of the engine's batch: one in flight always fills it."""
        return self.max_trees or batch

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Tree | Node]:
        """The tree and its nodes in order of creation; nothing for a prompt that was not drawn. Raises Rejected and
        EngineError."""
        if ids.seed(ctx.run_seed, ctx.job, "share", example.prompt.base_prompt_id) >= self.share * 2**31:
            ctx.count("not_drawn")
            return []
        identity = self._identity(example.prompt, ctx)
        search = TreeSearch(self, identity.tree_id, ctx.run_seed)
        serving = Conversing if self.mode == "ultra" else Answering
        answering = serving(self, example.prompt, identity.tree_id, ctx)
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
            hinted=prompt.reference is not None and self.hinted(),
        )

    @cached_property
    def _config(self) -> str:
        fields = self.model_dump(mode="json", exclude={*self.not_identity, "share"})
        return msgspec.json.encode(fields, order="deterministic").decode()
