"""Chat encoding: no text inside a message becomes a control token."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipeline.chat import ChatEncoder, control_strings
from pipeline.errors import PlanError
from pipeline.records import Message

SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(alphabet)} | {"ab": 256, "aba": 257}
    made = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("ab", "a")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    raw = PreTrainedTokenizerFast(tokenizer_object=made, additional_special_tokens=SPECIAL)
    raw.add_tokens(
        [AddedToken("<think>", special=False, normalized=False), AddedToken("  ", special=False, normalized=False)]
    )
    raw.chat_template = template
    return raw


CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
RAW = tokenizer()
CHAT = ChatEncoder(RAW)
CONTROL = {RAW.convert_tokens_to_ids(t) for t in [*SPECIAL, "<think>"]}
hostile = st.lists(
    st.sampled_from([*SPECIAL, "<think>", "<|", "|>", "user", "<", "end", "ab", "\ufdd0", "\n", "é"])
).map("".join)


def text_of(token_ids: list[int]) -> str:
    return str(RAW.backend_tokenizer.decode(token_ids, skip_special_tokens=False))


@CALM
@given(st.lists(hostile, min_size=1, max_size=3), hostile)
def test_only_the_template_makes_control_tokens_and_no_text_is_lost(contents: list[str], prefix: str) -> None:
    messages = tuple(Message("user", content) for content in contents)
    found = CHAT(messages, prefix)
    # the prefix is an assistant's text, in which markup such as <think> stays what it is
    assert sum(i in CONTROL for i in found) == 2 * len(contents) + 1 + prefix.count("<think>")
    assert text_of(found) == "".join(f"<|user|>{c}<|end|>" for c in contents) + "<|assistant|>" + prefix


@CALM
@given(hostile)
def test_text_alone_holds_no_control_tokens(text: str) -> None:
    found = CHAT.encode_text(text)
    assert not CONTROL & set(found)
    assert text_of(found) == text


def test_a_conversation_without_control_strings_is_encoded_as_one_text() -> None:
    messages = (Message("system", "abab"), Message("user", "ab  a"))
    whole = RAW.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages], tokenize=False, add_generation_prompt=True
    )
    assert CHAT(messages) == RAW.encode(whole, add_special_tokens=False)


def test_overlapping_control_strings_are_all_broken() -> None:
    raw = tokenizer()
    raw.add_special_tokens({"additional_special_tokens": [*SPECIAL, "<x<", "<y>"]})
    chat = ChatEncoder(raw)
    ids = chat((Message("user", "<x<y>"),))
    assert raw.convert_tokens_to_ids("<y>") not in ids
    assert raw.convert_tokens_to_ids("<x<") not in ids


def test_markup_that_templates_read_stays_in_assistant_turns() -> None:
    think = RAW.convert_tokens_to_ids("<think>")
    assert think in CHAT((Message("user", "q"), Message("assistant", "<think>"), Message("user", "go on")))
    assert think not in CHAT((Message("user", "<think>"),))


def test_added_words_and_blanks_are_no_control_strings() -> None:
    assert control_strings(RAW) == (frozenset(SPECIAL), frozenset({"<think>"}))


def test_a_prefix_that_merges_with_the_prompt_leaves_the_prompt_as_it_was() -> None:
    raw = tokenizer("{% for m in messages %}{{ m['content'] }}{% endfor %}ab")
    chat = ChatEncoder(raw)
    assert chat((Message("user", "x"),)) == [*raw.encode("x"), 256]
    assert chat((Message("user", "x"),), "a") == [*raw.encode("x"), 256, *raw.encode("a")]  # not the merged "aba"
    assert chat((Message("user", "x"),), "ab") == [*raw.encode("x"), 256, 256]


def test_a_template_of_the_config_replaces_the_tokenizers_own() -> None:
    chat = ChatEncoder(RAW, "{{ messages[0]['content'] }}!")
    assert text_of(chat((Message("user", "hi"),))) == "hi!"


def test_no_template_at_all_is_a_plan_error_that_says_what_to_set() -> None:
    with pytest.raises(PlanError, match="tokenizer tiny has no chat template; set chat_template"):
        ChatEncoder(tokenizer(None), name="tiny")((Message("user", "hi"),))


def test_decoding_leaves_out_special_tokens_and_a_character_that_was_cut() -> None:
    euro = RAW.encode("€")
    assert len(euro) == 3
    assert CHAT.decode(RAW.encode("x"), [*RAW.encode("ab"), *euro[:2]]) == "ab"
    assert CHAT.decode(RAW.encode("x"), [*euro, RAW.convert_tokens_to_ids("<|end|>")]) == "€"


@given(st.text(max_size=40), st.integers(0, 12))
def test_pieces_are_the_decoded_text_token_by_token(text: str, cut: int) -> None:
    ids = RAW.encode(text, add_special_tokens=False)
    pieces = CHAT.pieces(RAW.encode("x"), ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == CHAT.decode(RAW.encode("x"), ids) or "\ufffd" in text
    assert CHAT.pieces(RAW.encode("x"), ids[:cut]) == pieces[:cut]


def test_a_character_comes_with_the_last_of_its_tokens_and_special_tokens_with_none() -> None:
    ids = [*RAW.encode("a"), *RAW.encode("€"), RAW.convert_tokens_to_ids("<|end|>")]
    assert CHAT.pieces(RAW.encode("x"), ids) == ["a", "", "", "€", ""]


def test_the_blank_of_a_first_token_survives_decoding() -> None:
    made = Tokenizer(models.WordPiece({"<unk>": 0, "▁x": 1, "▁a": 2}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    chat = ChatEncoder(PreTrainedTokenizerFast(tokenizer_object=made))
    assert made.decode([2]) == "a"
    assert chat.decode([1], [2]) == " a"
    assert chat.pieces([1], [2, 1]) == [" a", " x"]
