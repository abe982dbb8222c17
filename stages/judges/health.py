"""What the rows of one prompt say about its judges: counts that add up over a run, and cases worth reading. Pure.

Names of counts: `<measure>:<judge>:<what>`; a judge is `job/judge_id`. Everything is an integer, so that shards add up.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Rationale
from stages.judges.scores import candidate_scores

Edges = dict[tuple[str, str], float]  # two candidate ids in order -> probability that the first is better
LONGER = 1.1  # an arm is longer from a tenth more characters on
BINS = 10
_CLIP = 1e-4  # spec judges C3, J3: probabilities are clipped before their logit


class Case(Struct, frozen=True, gc=False):
    """One thing to look at: canary_won, order_flipped, against_outcome or probe_missed; of which judge, which candidates."""

    what: str
    judge: str
    cand_ids: tuple[str, ...]
    detail: str


class Health(Struct, frozen=True):
    """Counts and cases of one prompt."""

    counts: Counter[str]
    cases: list[Case]


def canary_kind(candidate: Candidate) -> str | None:
    """Which canary a candidate is, None for a real one."""
    return (candidate.ext_json or "").split('"')[3] if candidate.policy_relation == "canary" else None


def judge_of(judgment: Judgment) -> str:
    """The name a judge is counted under."""
    return f"{judgment.job}/{judgment.judge_id}"


def judge_health(candidates: Sequence[Candidate], judgments: Sequence[Judgment], pairs: Sequence[Pair]) -> Health:
    """Judges against themselves, one another, deterministic outcomes, labels that came with the input, and canaries."""
    counts: Counter[str] = Counter()
    by_judge: defaultdict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        by_judge[judge_of(judgment)].append(judgment)
    texts = {c.candidate_id: len(c.text) for c in candidates if canary_kind(c) is None}
    opinions: dict[str, Edges] = {}
    truth: Edges = {}
    cases: list[Case] = []
    for judge, rows in sorted(by_judge.items()):
        _answers(counts, judge, rows)
        scores = _scores(rows)
        said = {edge: p for edge, p in _preferences(scores, rows).items() if set(edge) <= set(texts)}
        if rows[0].mode == "tool":
            truth |= {edge: p for edge, p in said.items() if p != 0.5}
        else:
            opinions[judge] = said
            cases += _orders(counts, judge, rows)
            cases += _canaries(counts, judge, scores, candidates)
    given = dict(_label(pair) for pair in pairs if pair.label_source in ("human", "given"))
    _length(counts, "outcome", truth, texts)
    for judge, said in opinions.items():
        cases += _against(counts, judge, said, truth)
        _score_card(counts, f"given:{judge}", said, given)
        _length(counts, judge, said, texts)
    for (one, said), (other, against) in itertools.combinations(opinions.items(), 2):
        _score_card(counts, f"agree:{one} ~ {other}", said, against)
    return Health(counts, cases)


def probe_health(better: str, candidates: Sequence[Candidate], judgments: Sequence[Judgment]) -> Health:
    """Judges against a planted pair of which `better` is known to be the better one; `silent`: no opinion came of it."""
    counts: Counter[str] = Counter()
    cases: list[Case] = []
    a, b = sorted(c.candidate_id for c in candidates)
    truth = {(a, b): float(a == better)}
    by_judge: defaultdict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        by_judge[judge_of(judgment)].append(judgment)
    for judge, rows in sorted(by_judge.items()):
        _answers(counts, judge, rows)
        if all(row.status == "na" for row in rows):
            continue
        cases += _orders(counts, judge, rows)
        said = _preferences(_scores(rows), rows)
        if rows[0].mode == "tool":  # a check that finds the same of both has not told them apart
            said = {edge: p for edge, p in said.items() if p != 0.5}
        _score_card(counts, f"probe:{judge}", said, truth)
        counts[f"probe:{judge}:silent"] += (a, b) not in said
        if (said.get((a, b), truth[a, b]) - 0.5) * (truth[a, b] - 0.5) < 0:
            cases.append(Case("probe_missed", judge, (a, b), "the judge prefers the answer that is known to be worse"))
    return Health(counts, cases)


def pair_health(pairs: Sequence[Pair], rationales: Sequence[Rationale], canaries: Iterable[str]) -> Counter[str]:
    """What was made of the judgments: lengths of the arms, label sources, ambiguous and flipped labels, rationales."""
    counts: Counter[str] = Counter()
    planted = set(canaries)
    explained = {r.pair_id for r in rationales if r.status == "ok"}
    for pair in pairs:
        chosen, rejected = (len(m[-1].content) if m else 0 for m in (pair.chosen_messages, pair.rejected_messages))
        counts[f"pairs:{_longer(chosen, rejected)}"] += 1
        counts[f"source:{pair.label_source}"] += 1
        counts["flag:ambiguous"] += bool(pair.ambiguous)
        counts["flag:flipped"] += bool(pair.label_flipped)
        counts["flag:canary_chosen"] += bool(pair.chosen_gen and pair.chosen_gen.candidate_id in planted)
        if rationales:
            counts[f"explained:{'yes' if pair.pair_id in explained else 'no'}"] += 1
        if pair.score_gap is not None:
            counts[f"gap:{_bin(pair.score_gap)}"] += 1
    for rationale in rationales:
        counts[f"rationale:{rationale.reject_reason or 'kept'}"] += 1
        if (sure := rationale.verify.self_certainty) is not None:
            counts[f"certainty_decinats:{int(10 * sure)}"] += 1
    return counts


def _answers(counts: Counter[str], judge: str, rows: Sequence[Judgment]) -> None:
    for row in rows:
        counts[f"status:{judge}:{row.status}"] += 1
        if row.label_mass is not None:
            counts[f"mass:{judge}:{_bin(row.label_mass)}"] += 1
        if row.value is not None and len(row.cand_ids) == 1 and row.scale_max > row.scale_min:
            counts[f"value:{judge}:{_bin((row.value - row.scale_min) / (row.scale_max - row.scale_min))}"] += 1


def _bin(share: float) -> int:
    return min(BINS - 1, max(0, int(share * BINS)))


def _orders(counts: Counter[str], judge: str, rows: Sequence[Judgment]) -> Iterator[Case]:
    """Both orders of each pairwise question: do they agree, and how far is the first place preferred (spec judges B1)?"""
    asked: defaultdict[tuple[tuple[str, ...], int], dict[int, float | None]] = defaultdict(dict)
    for row in rows:
        if row.mode == "pairwise" and row.order is not None:
            asked[row.cand_ids, row.sample_idx][row.order] = row.value
    for (cand_ids, _), values in asked.items():
        forth, back = values.get(0), values.get(1)
        if forth is None or back is None:
            counts[f"orders:{judge}:missing"] += 1
            continue
        flipped = (forth - 0.5) * (back - 0.5) < 0
        tied = (forth - 0.5) * (back - 0.5) == 0
        counts[f"orders:{judge}:{'flipped' if flipped else 'tied' if tied else 'same'}"] += 1
        counts[f"bias_millilogits:{judge}"] += round(500 * (_logit(forth) + _logit(1 - back)))
        if flipped:
            yield Case(
                "order_flipped", judge, cand_ids, f"P(first listed better) {forth:.2f} and, shown second, {back:.2f}"
            )


def _logit(p: float) -> float:
    p = min(max(p, _CLIP), 1 - _CLIP)
    return math.log(p / (1 - p))


def _scores(rows: Sequence[Judgment]) -> dict[str, float]:
    tool = rows[0].mode == "tool"
    found = candidate_scores(rows)
    values = {c: (None if s.outcome is None else float(s.outcome)) if tool else s.value for c, s in found.items()}
    return {c: value for c, value in values.items() if value is not None}


def _canaries(
    counts: Counter[str], judge: str, scores: Mapping[str, float], candidates: Sequence[Candidate]
) -> Iterator[Case]:
    """A canary wins when nothing real scores higher: it would have been chosen."""
    kinds = {c.candidate_id: kind for c in candidates if (kind := canary_kind(c))}
    real = [value for c, value in scores.items() if c not in kinds]
    for canary, kind in kinds.items():
        if canary in scores and real:
            won = scores[canary] >= max(real)
            counts[f"canary:{judge}:{kind} {'won' if won else 'lost'}"] += 1
            if won:
                yield Case(
                    "canary_won", judge, (canary,), f"{kind} got {scores[canary]:.2f}, the best answer {max(real):.2f}"
                )


def _preferences(scores: Mapping[str, float], rows: Sequence[Judgment]) -> Edges:
    """P(a better) of pairs a < b that a judge has an opinion on: 1, 1/2, 0 by scores; the mean of both orders pairwise."""
    found = {
        (a, b): 0.5 if scores[a] == scores[b] else float(scores[a] > scores[b])
        for a, b in itertools.combinations(sorted(scores), 2)
    }  # fmt: skip
    both: defaultdict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.mode == "pairwise" and row.value is not None and row.order is not None:
            a, b = row.cand_ids
            edge, value = ((a, b), row.value) if a < b else ((b, a), 1 - row.value)
            both[edge][row.order].append(value)
    return found | {
        edge: sum(math.fsum(v) / len(v) for v in values.values()) / 2
        for edge, values in both.items()
        if len(values) == 2
    }


def _against(counts: Counter[str], judge: str, said: Edges, truth: Edges) -> Iterator[Case]:
    _score_card(counts, f"outcome:{judge}", said, truth)
    for edge in sorted(set(said) & set(truth)):
        if (said[edge] - 0.5) * (truth[edge] - 0.5) < 0:
            yield Case("against_outcome", judge, edge, "the judge prefers the answer that was verified wrong")


def _score_card(counts: Counter[str], name: str, said: Edges, truth: Edges) -> None:
    """How often `said` agrees with `truth`, where both have an opinion."""
    for edge in set(said) & set(truth):
        product = (said[edge] - 0.5) * (truth[edge] - 0.5)
        counts[f"{name}:{'same' if product > 0 else 'opposite' if product < 0 else 'tie'}"] += 1


def _label(pair: Pair) -> tuple[tuple[str, str], float]:
    """A label that came with the input, as an edge; arms without an id meet no judge's opinion."""
    chosen, rejected = (gen.candidate_id if gen else "" for gen in (pair.chosen_gen, pair.rejected_gen))
    return ((chosen, rejected), 1.0) if chosen < rejected else ((rejected, chosen), 0.0)


def _length(counts: Counter[str], judge: str, said: Edges, texts: Mapping[str, int]) -> None:
    for (a, b), p in said.items():
        if p != 0.5:
            better, worse = (a, b) if p > 0.5 else (b, a)
            counts[f"length:{judge}:{_longer(texts[better], texts[worse])}"] += 1


def _longer(better: int, worse: int) -> str:
    return "longer" if better >= LONGER * worse else "shorter" if worse >= LONGER * better else "alike"
