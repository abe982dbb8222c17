"""Does a text decline to answer? English phrases where a text begins, no model: what follows later is the answer."""

from __future__ import annotations

import re

_HEAD = 400  # characters; a refusal comes first
_MODEL = r"(?:large\ )?(?:language\ )?(?:model|assistant|system|chatbot)"
# What may stand before it: greetings, thanks, regret, and what the speaker is.
_PREFACE = rf"""(?:(?:
      no | well | hi | hello | (?:thank\ you | thanks)[^.,!]{{0,40}} | unfortunately | sorry | oh | apologies
    | (?:my\ (?:sincere\ )?apologies | i\ (?:sincerely\ )?apologi[sz]e)(?:\ for[^.,]{{0,40}})?
    | (?:i'm|i\ am)\ (?:(?:really|very|so|truly|deeply|terribly)\ )?(?:sorry|afraid)(?:\ that)?
    | i\ (?:(?:deeply\ )?regret(?:\ to\ say)?|understand|appreciate|see)[^.,]{{0,40}}
    | as\ (?:an?\ )(?:responsible\ |helpful\ )?ai(?:\ {_MODEL})?(?:\ (?:trained|made|created|developed)\ by\ \w{{1,20}})?
    | (?:i'm|i\ am)\ (?:just\ |only\ )?an\ ai(?:\ {_MODEL})?
    | i\ (?:don't|do\ not)\ have[^.]{{0,60}}?(?=,?\ (?:so|and|therefore)\ i\b)
    )[,.;:!]*\s{{1,3}}(?:(?:but|and|so|however|therefore|that)\b,?\s)?){{0,4}}"""
_CANNOT = r"""i\ (?:
      (?:(?:can't|cannot|can\ not|cant|won't|will\ not|wouldn't|would\ not|couldn't|could\ not|don't\ think\ i\ can)
        (?:\ (?:and\ will\ not|and\ won't|in\ good\ conscience|really|directly|currently|be\ able\ to|legally))*)
    | am\ (?:not\ able|unable|not\ allowed|not\ permitted|not\ in\ a\ position|not\ going|not\ programmed|not\ designed)\ to
    | would\ rather\ not | refuse\ to | decline\ to | prefer\ not\ to
    | am\ not\ comfortable | (?:don't|do\ not)\ feel\ comfortable)"""
_DOING = r"""(?:help|assist|provid|fulfil|comply|complet|answer|discuss|continu|creat|generat|produc|support|engag|shar|giv|
    offer|participat|respond|writ|advis|endors|promot|encourag|facilitat|proceed|
    rat|judg|evaluat|scor|compar|in\ good|have\ (?:personal\ )?(?:opinion|feeling|preference|belief)|
    do\ (?:that|this|so|it)\b)"""
_REFUSAL = re.compile(
    rf"""{_PREFACE}(?:
      {_CANNOT}\ {_DOING}
    | i\ (?:(?:must|have\ to|will\ have\ to|need\ to)\ )?(?:respectfully\ )?(?:declin|refus)
    | i\ (?:cannot|can't|won't|will\ not)\s{{0,3}}(?:[.!]|\Z)
    | (?:it\ is|it's|it\ would\ be|that\ is|that's|this\ is|this\ request\ is|this\ goes|that\ goes)\ (?:
        (?:not\ appropriate|inappropriate|unethical|not\ ethical)\ for\ me | against\ my
      | not\ (?:within|in)\ my\ (?:programming|guidelines|ability|capacity)))""",
    re.VERBOSE,
)
_SPEECH = str.maketrans({"’": "'", "‘": "'", "*": None, "_": None, "\n": " "})
_SHORT = (("i'm not", "i am not"), ("i'm unable", "i am unable"), ("i'd rather", "i would rather"))


def declines(text: str) -> bool:
    """Whether a text begins by refusing. Regret alone ("I'm sorry to hear …"), a quoted refusal, and figures of speech
    ("I can't recommend it enough") are none; a refusal followed by an alternative is one.
    """
    head = " ".join(text[:_HEAD].translate(_SPEECH).lower().split())
    for short, long in _SHORT:
        head = head.replace(short, long)
    return bool(_REFUSAL.match(head))
