"""Aspects of single domains: name, question, and a sentence for each of five levels, lowest first. Pure."""

from __future__ import annotations

DOMAIN_ASPECTS: tuple[tuple[str, ...], ...] = (
    # simultaneous translation (SimulPL); its fifth, latency, is no quality of a text
    (
        "translation_quality",
        "Does the translation say what the source says, in the words a native speaker would use?",
        "It says something else, or cannot be understood.",
        "Much of the meaning is lost or wrong.",
        "The main meaning is there, with errors that matter.",
        "The meaning is there, with small slips of wording.",
        "It says all the source says, fluently.",
    ),
    (
        "monotonicity",
        "Does the translation follow the order of the source, so that it can be spoken while the source goes on?",
        "It could not begin before the source has ended.",
        "Long parts are moved a long way.",
        "Some parts wait for words that come much later.",
        "A few words change places.",
        "It follows the source from chunk to chunk.",
    ),
    (
        "key_points",
        "Does the translation keep what the listener must not miss: names, numbers, claims, negations?",
        "Most of it is missing or wrong.",
        "An essential point is missing or wrong.",
        "The essential points are there, several lesser ones are not.",
        "One lesser point is missing.",
        "Nothing a listener needs is missing.",
    ),
    (
        "simplicity",
        "Is the translation easy to take in by ear: short clauses, plain words?",
        "A listener would lose the thread at once.",
        "Long nested sentences throughout.",
        "Simple in part.",
        "Simple apart from a phrase or two.",
        "Short plain clauses throughout.",
    ),
    # summaries of product reviews (arXiv 2402.15473)
    (
        "aspect_coverage",
        "Does the summary name the aspects of the product that the reviews speak of?",
        "None of them.",
        "One or two of many.",
        "About half of them.",
        "All but a minor one.",
        "All of them.",
    ),
    (
        "opinion_faithfulness",
        "Do the opinions in the summary stand in the reviews, with the same sentiment?",
        "Most are invented or turned over.",
        "Several are invented or turned over.",
        "One that matters is not in the reviews.",
        "All are, one of them is overstated.",
        "All are, as the reviews have them.",
    ),
    (
        "opinion_coverage",
        "Does the summary tell the opinions that most reviewers share, and where they differ?",
        "None of them.",
        "A few, by chance.",
        "The main one, not those against it.",
        "Nearly all.",
        "All, with where reviewers differ.",
    ),
    (
        "relevance",
        "Is what the response says about what was asked, and worth knowing for the person who asked?",
        "Nothing of it.",
        "Little of it.",
        "About half of it.",
        "Nearly all of it.",
        "All of it.",
    ),
    (
        "groundedness",
        "Does the response keep to what the given input says (no hallucination)?",
        "Most of it is made up.",
        "A made-up statement spoils its main point.",
        "Several details are not in the input.",
        "One detail without consequence is not in the input.",
        "All of it is in the input or follows from it.",
    ),
    (
        "language_correctness",
        "Are grammar, spelling and choice of words right?",
        "It can hardly be read.",
        "Errors in most sentences.",
        "Several errors.",
        "One slip.",
        "None.",
    ),
    # answers with sources (Search Arena)
    (
        "citation_support",
        "Do the sources that the response cites support the claims they stand at? How many there are does not matter.",
        "They contradict the claims, or have nothing to do with them.",
        "Few claims are supported by what is cited.",
        "About half are.",
        "All but a lesser claim are.",
        "Every claim with a citation is supported by it.",
    ),
)
DOMAIN_SETS: dict[str, tuple[str, ...]] = {
    "simulpl": ("translation_quality", "monotonicity", "key_points", "simplicity"),
    "ecommerce": (
        "aspect_coverage", "opinion_faithfulness", "opinion_coverage", "conciseness", "relevance", "groundedness",
        "language_correctness",
    ),
}  # fmt: skip
