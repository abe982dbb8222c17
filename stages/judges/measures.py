"""From the audit's counts to rates one can set bounds on. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from msgspec import Struct

Table = dict[str, dict[str, int]]  # judge -> what -> how often
LOWEST = ("parse_rate", "order_consistency", "agreement", "outcome_agreement", "given_agreement", "probe_accuracy")


class JudgeMeasures(Struct, frozen=True):
    """One judge. None: nothing to measure it by.

    parse_rate: calls that gave a value, of those that could. position_bias: mean preference for the first place, logits.
    agreement: with the other judges; outcome_agreement: with verified outcomes; given_agreement: with the input's labels;
    probe_accuracy: on planted gold items it has an opinion on; ties count half in all four. length_lean: share of longer
    winners among clear cases, less the same share of verified outcomes (less 1/2 where nothing is verified).
    """

    calls: int
    parse_rate: float | None
    probe_accuracy: float | None
    low_mass: float | None
    order_consistency: float | None
    position_bias: float | None
    agreement: float | None
    outcome_agreement: float | None
    given_agreement: float | None
    length_lean: float | None
    canary_wins: float | None


class Measures(Struct, frozen=True):
    """All judges, what they make of canaries and probes, the pairs, and for each measure its worst value over the judges."""

    judges: dict[str, JudgeMeasures]
    canaries: dict[str, dict[str, int]]
    probes: dict[str, dict[str, int]]
    pairs: dict[str, float | None]
    worst: dict[str, float | None]


def tables(counts: Mapping[str, int]) -> dict[str, Table]:
    """`measure:judge:what` -> measure -> judge -> what -> count. Counts of two parts have the judge ""."""
    found: defaultdict[str, Table] = defaultdict(dict)
    for name, n in counts.items():
        if ":" in name:
            measure, rest = name.split(":", 1)
            judge, _, what = rest.rpartition(":")
            found[measure].setdefault(judge, {})[what] = n
    return dict(found)


def measures(counts: Mapping[str, int]) -> Measures:
    """Rates of the ledger that an `audit` job has kept."""
    by = tables(counts)
    bias = by.pop("bias_millilogits", {}).get("", {})
    judges = {judge: _judge(judge, by, bias.get(judge)) for judge in sorted(by.get("status", {}))}
    pairs = _pairs(by)
    worst: dict[str, float | None] = {}
    for name in JudgeMeasures.__struct_fields__[1:]:
        values = [value for judge in judges.values() if (value := getattr(judge, name)) is not None]
        low = name in LOWEST
        worst[name] = (min(values) if low else max(values, key=abs)) if values else None
    return Measures(judges, by.get("canary", {}), by.get("probe", {}), pairs, worst | pairs)


def _judge(judge: str, by: Mapping[str, Table], bias: int | None) -> JudgeMeasures:
    statuses = by["status"][judge]
    calls, orders = sum(statuses.values()), by.get("orders", {}).get(judge, {})
    both = sum(orders.get(what, 0) for what in ("same", "flipped", "tied"))
    agreed: dict[str, int] = defaultdict(int)
    for judges, counted in by.get("agree", {}).items():
        if judge in judges.split(" ~ "):
            for what, n in counted.items():
                agreed[what] += n
    canaries = by.get("canary", {}).get(judge, {})
    won = sum(n for what, n in canaries.items() if what.endswith(" won"))
    masses = by.get("mass", {}).get(judge, {})
    return JudgeMeasures(
        calls=calls,
        parse_rate=share(statuses.get("ok", 0), calls - statuses.get("na", 0)),
        low_mass=share(sum(n for bin_, n in masses.items() if int(bin_) < 5), sum(masses.values())),
        order_consistency=share(orders.get("same", 0) + orders.get("tied", 0), both),
        position_bias=None if bias is None or not both else bias / 1000 / both,
        agreement=_agreement(agreed),
        outcome_agreement=_agreement(by.get("outcome", {}).get(judge, {})),
        given_agreement=_agreement(by.get("given", {}).get(judge, {})),
        length_lean=_lean(by.get("length", {}), judge),
        canary_wins=share(won, sum(canaries.values())),
        probe_accuracy=_agreement(by.get("probe", {}).get(judge, {})),
    )


def share(part: int, whole: int) -> float | None:
    """part / whole, None of nothing."""
    return part / whole if whole else None


def _agreement(counted: Mapping[str, int]) -> float | None:
    same, tie = counted.get("same", 0), counted.get("tie", 0)
    whole = same + tie + counted.get("opposite", 0)
    return (same + tie / 2) / whole if whole else None


def _longer(counted: Mapping[str, int]) -> float | None:
    return share(counted.get("longer", 0), counted.get("longer", 0) + counted.get("shorter", 0))


def _lean(lengths: Table, judge: str) -> float | None:
    lean, truth = _longer(lengths.get(judge, {})), _longer(lengths.get("outcome", {}))
    return None if lean is None else lean - (0.5 if truth is None else truth)


def _pairs(by: Mapping[str, Table]) -> dict[str, float | None]:
    lengths, flags = by.get("pairs", {}).get("", {}), by.get("flag", {}).get("", {})
    explained, whole = by.get("explained", {}).get("", {}), sum(lengths.values())
    return {
        "pairs": float(whole),
        "canaries_chosen": float(flags.get("canary_chosen", 0)),
        "longer_chosen": _longer(lengths),
        "ambiguous": share(flags.get("ambiguous", 0), whole),
        "flipped": share(flags.get("flipped", 0), whole),
        "explained": share(explained.get("yes", 0), sum(explained.values())),
        "self_certainty_p5": _low_end(by.get("certainty_decinats", {}).get("", {})),
    }


def _low_end(counted: Mapping[str, int], part: float = 0.05) -> float | None:
    """The value in nats, to a tenth, that no more than `part` of all are below; None without any."""
    left = part * sum(counted.values())
    for name, n in sorted(counted.items(), key=lambda item: int(item[0])):
        left -= n
        if left < 0:
            return int(name) / 10
    return None
