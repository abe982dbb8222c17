r"""The forms in which models write one answer: each is right, wrong, or unknown where a verdict would be a guess."""

from __future__ import annotations

import pytest

from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context, Example
from stages.judges.verify import Verify

Forms = tuple[str, list[str], list[str], list[str]]  # reference; right, wrong, unknown

NUMBERS: list[Forms] = [
    ("72",
     ["#### 72", "Answer: 72.0", "**Answer:** 72", "Answer: **72**", "The final answer is $\\boxed{72}$. I hope it is.",
      "<answer> 72 </answer>", "The answer is:\n\n$$72$$", "The answer is\n\\[\n72\n\\]", "Answer: => 72", "Answer：72",
      "The answer is therefore 72.", "The answer should be 72.", "## Final Answer\n\n72", "\\boxed72", "#### $72",
      "Answer: 48+24=72 clips", "Answer: 72 (48+24)", "Answer: 72 = 8 * 9", "The answer is 72, which is 48+24.",
      "My answer is based on 3 facts.\n72", "Therefore, she sold 72 clips.", "First, 9 clips. Then 72."],
     ["#### 73", "Answer: -72", "Answer: 7.2", "Answer: 72.5", "Answer: 72,000", "\\boxed{71}", "So it is 4.",
      "\\boxed{\\sqrt{72}}"],
     ["Answer: 72 or 73", "Answer: 70-75", "Answer: 72 and 5", "Answer: between 70 and 75", "Answer: 72k", "Answer: N/A",
      "Answer: more than 70", "Answer: >70", "The answer is not 72.", "Answer: not 72", "Answer: 6 dozen", "six dozen",
      "It is 5 dozen.", "Answer: 1 hour 12 minutes", "Answer: 1h12m", "Answer: 72!", "9 clips at first. Then 72.",
      "I don't know.", "", "\\boxed{", "\\boxed{x}", "Step 1: 8*9\nStep 2: 9 *"]),
    ("-5",
     ["Answer: −5", "Answer: - 5", "Answer: –5", "Answer: negative 5", "minus five", "Answer: -$5", "(-5)", "-5.0"],
     ["Answer: 5", "Answer: -6", "five"], ["Answer: not -5"]),
    ("1,234",
     ["1234", "$1,234.00", "1{,}234", "\\boxed{1\\,234}", "\\boxed{1,\\!234}", "1\u202f234", "1.234 thousand"],
     ["1.234", "1,235", "234"], ["Answer: 1 234", "Answer: 12,34", "Answer: 1.234k"]),
    ("0.5",
     ["1/2", "1/2.", ".5", "\\frac12", "\\boxed{\\tfrac{1}{2}}", "5e-1", "½", "So\nit is 1/2", "So\nit is $\\frac{1}{2}$."],
     ["1/3", "0.05", "5", "2/1"], ["50%", "Answer: 0,5", "one half", "half"]),
    ("50%", ["50 %", "50 percent", "\\boxed{50\\%}", "50"], ["51%", "5%"], ["0.5", "1/2"]),
    ("120",
     ["120 m/s", "120 m^2", "120 cm^{2}", "120 ft²", "120\\text{ in}^2", "120\\,\\text{cm}^3", "120 cubic feet", "120°"],
     ["12 m^2", "121"], ["120 m by 5 m"]),
    ("1/3", ["\\frac{1}{3}", "2/6"], ["0.3", "2/3", "0.35", "3"], ["0.333", "0.33"]),
    ("3/4", ["0.75", "\\frac34", "75/100", "¾", "3/4 of the cake"], ["4/3", "0.7"], ["three quarters"]),
    ("2 1/2", ["2.5", "5/2", "2½", "2\\frac{1}{2}"], ["2", "1/2"], []),
    ("1000000", ["10^6", "\\boxed{10^{6}}", "1e6", "1 million", "1.0 \\times 10^6", "1×10^6"], ["10^5", "1e5"], ["1M"]),
    ("3", ["So\nthere are 3 left."], ["So\nit is 4."], ["So\nit is 2\\sqrt{3}", "So\nit is x^3"]),
    ("21", ["twenty-one", "Twenty one apples"], ["twenty", "one"], ["the twenty-first", "twenty or one"]),
    ("5", ["\\boxed{x=5}", "\\boxed{\\frac{10}{2}}", "\\boxed{2+3}", "\\boxed{5\\text{ cm}}"],
     ["\\boxed{2\\cdot 5}", "\\boxed{5^2}", "\\boxed{\\frac{5}{2}}"], ["\\boxed{5 \\text{ or } 6}", "\\boxed{5,6}"]),
]  # fmt: skip

FORMULAS: list[Forms] = [
    ("\\frac{\\sqrt{3}}{2}", ["\\boxed{\\sqrt{3}/2}", "√3/2", "sqrt(3)/2"], ["\\boxed{\\sqrt{3}}", "\\boxed{1}"],
     ["0.866", "\\boxed{0.87}"]),
    ("(1,2]", ["\\boxed{\\left(1, 2\\right]}"], ["\\boxed{[1,2]}", "\\boxed{(1,2)}"], ["no idea"]),
    ("(2, \\infty)", ["\\boxed{x > 2}"], ["\\boxed{x < 2}", "\\boxed{[2,\\infty)}"], []),
    ("\\{1,2,3\\}", ["\\boxed{\\{3, 2, 1\\}}", "\\boxed{1,2,3}"], ["\\boxed{\\{1,2\\}}"], []),
    ("1,2", ["\\boxed{2,1}", "Answer: 1 and 2", "\\boxed{x=1, x=2}"], ["\\boxed{1}", "\\boxed{12}"], []),
    ("(3,-4)", ["Answer: (3, -4)"], ["\\boxed{(-4,3)}", "Answer: 3"], []),
    ("2\\pi", ["2π", "2pi", "\\boxed{2 \\pi}"], ["\\boxed{\\pi}", "\\boxed{6.5}"], ["\\boxed{6.28}"]),
    ("\\sqrt{2}", ["\\boxed{2^{1/2}}"], ["1.5", "\\boxed{1.42}"], ["1.414", "\\boxed{1.41}"]),
    ("\\frac{\\pi}{4}", ["π/4"], ["\\boxed{\\pi/2}"], ["\\boxed{45^\\circ}", "0.785"]),
    ("4210_5", ["\\boxed{4210_{5}}"], ["\\boxed{4210_6}", "\\boxed{4211_5}"], ["4210"]),
    ("\\emptyset", ["\\boxed{\\varnothing}"], [], []),
    ("p - q", ["\\boxed{p-q}"], ["\\boxed{q-p}"], []),
    ("1.5\\times 10^{3}", ["1500", "1.5e3"], ["1.5", "150"], []),
    ("\\text{Evelyn}", ["Answer: Evelyn", "\\boxed{\\text{Evelyn}}"], ["Answer: Carla"], []),
    ("\\text{(B)}", ["(B)", "\\boxed{\\text{B}}"], ["Answer: C"], []),
]  # fmt: skip

WORDS: list[Forms] = [
    ("B",
     ["B", "(B)", "B) Paris", "The answer is (B) because A and C are false.", "The correct option is B.", "Answer: $B$",
      "<answer>B</answer>", "\\boxed{\\textbf{(B)}}", "The correct answer is **(B) Paris**.", "The answer must be B",
      "(A) is wrong, (C) is wrong, so (B) it is.", "After thought, option (B) is the right one.", "So I pick (B).",
      "B\n\nBecause A is wrong."],
     ["A", "Answer: C", "The answer is (a)", "The correct answer is C, not B.", "Hence (D).", "<answer>C</answer>"],
     ["A or B", "Answer: A, B", "Answer: both A and B", "The answer is not B.", "The answer isn't (B)", "B is wrong.",
      "(B) is incorrect", "B is not correct", "It is not (B).", "I would rule out (B).", "Not sure, maybe (A) or (B)",
      "(B)? Hmm, or (C)?", "I am unable to help with (B)", "(A) says x. (B) says y. (C) says z. I cannot decide.",
      "Options (A) and (B) are both plausible.", "The answer is a bit complicated", "Paris", "None of the above"]),
    ("A", ["Answer: A because", "The answer is (A) 5", "A. Paris"], ["Answer: B"], ["A good question.", "Answer: A lot"]),
    ("Paris",
     ["The answer is **Paris**.", "\\boxed{\\text{Paris}}", "paris"], ["Answer: London", "Rome"],
     ["I don't know.", "I'm sorry, but I can't help with that.", "Answer: Paris or Rome", "Answer: it depends",
      "The city on the Seine that tourists love most.", "Answer: Paris, France"]),
    ("yes", ["Yes, because it rains.", "Answer: Yes, it does.", "**Yes**"], ["No.", "No, it does not"], ["It depends.", ""]),
    ("no", ["Answer: No", "No, it does not."], ["Yes, it does."], ["Nobody knows."]),
    ("3:2", ["3 : 2", "\\boxed{3:2}"], ["Answer: 2:3"], []),
]  # fmt: skip

VALUES = {"right": 1.0, "wrong": 0.0, "unknown": None}
TABLE = [
    pytest.param(reference, text, VALUES[verdict], id=f"{reference} | {text[:40]} is {verdict}".replace("\n", " "))
    for reference, *columns in NUMBERS + FORMULAS + WORDS
    for verdict, texts in zip(VALUES, columns, strict=True)
    for text in texts
]


@pytest.mark.parametrize(("reference", "text", "value"), TABLE)
async def test_a_form_is_read_or_unknown(reference: str, text: str, value: float | None) -> None:
    prompt = Prompt("p", "p", (Message("user", "?"),), reference)
    example: Example[Candidate] = Example(prompt, [Candidate("p", "c", text, "generate", finish_reason="stop")])
    (judgment,) = await Verify().process(example, Context("verify", "run", 7, "f", {}))
    assert judgment.value == value, judgment
