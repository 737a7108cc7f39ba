"""Dialogues as token ids: which parts of the text are answers, with and without {% generation %}, and vectors among the ids."""

from dataclasses import replace

import numpy as np
import pytest

from mmjax.pretrained import load
from mmjax.pretrained.chat_sandbox import ChatTemplateError
from mmjax.pretrained.chat_template import ChatTemplate
from mmjax.pretrained.dialogues import MARKS, Piece, dialogue_ids, dialogue_pieces, dialogue_with_vectors, published_dialogue
from tests.pretrained.tiny import byte_tokenizer, vision_language_folder

pytest.importorskip("tokenizers")
TALK = [
    {"role": "user", "content": "<image>a?"},
    {"role": "assistant", "content": "B"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "Dé"},
    {"role": "user", "content": "e"},
]
PLAIN = """{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}.
{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"""
TAGGED = """{% for m in messages %}[{{ m.role[0] }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content }}.
{% endgeneration %}{% else %}{{ m.content }}.
{% endif %}{% endfor %}"""
PIECES = [("[u]<image>a?.\n[a]", False), ("B.\n", True), ("[u]c.\n[a]", False), ("Dé.\n", True), ("[u]e.\n", False)]
VOCABULARY = 300


@pytest.mark.parametrize("source", [PLAIN, TAGGED], ids=["prefixes", "generation"])
def test_pieces_by_hand(source):
    template = ChatTemplate(source)
    assert dialogue_pieces(template, TALK) == PIECES
    assert dialogue_pieces(template, TALK[:1]) == [("[u]<image>a?.\n", False)]
    two = [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}]
    assert dialogue_pieces(template, two) == [("[a]", False), ("x.\n", True), ("[a]", False), ("y.\n", True)]


def test_generation_within_a_macro_and_blocks():
    """Where a template builds its text does not matter."""
    macro = "{% macro f(x) %}({% generation %}{{ x }}{% endgeneration %}){% endmacro %}{{ f(messages[1].content) }}"
    block = "{% set t %}{% generation %}{{ messages[1].content }}{% endgeneration %}!{% endset %}{{ t }}"
    assert dialogue_pieces(ChatTemplate(macro), TALK) == [("(", False), ("B", True), (")", False)]
    assert dialogue_pieces(ChatTemplate(block), TALK) == [("B", True), ("!", False)]


def test_answers_that_cannot_be_found():
    """Like a template that leaves out the thoughts of earlier answers."""
    forgets = "{% for m in messages %}[{{ m.role[0] }}]{{ m.content if loop.last else m.content[0] }}{% endfor %}"
    with pytest.raises(ChatTemplateError, match=r"writes answer 2 otherwise when the dialogue goes on.* put {% generation %}"):
        dialogue_pieces(ChatTemplate(forgets + "{% if add_generation_prompt %}[a]{% endif %}"), TALK[1:])
    nested = "{% generation %}a{% generation %}b{% endgeneration %}{% endgeneration %}"
    with pytest.raises(ChatTemplateError, match="marks answers inside each other"):
        dialogue_pieces(ChatTemplate(nested), TALK)
    with pytest.raises(ChatTemplateError, match="or a message has one of"):
        dialogue_pieces(ChatTemplate(TAGGED), [{"role": "user", "content": MARKS[0]}, *TALK])


def test_ids_and_vectors():
    """Bytes are tokens, so é is two; ids are looked up one by one."""
    library = byte_tokenizer()
    number = lambda text: [library.encode(one, add_special_tokens=False).ids for one in text]
    flat = lambda text: np.concatenate(number(text)).tolist()
    pieces = [Piece(*piece) for piece in PIECES]
    ids, answer = dialogue_ids(pieces, library)
    assert ids.tolist() == flat("".join(text for text, _ in PIECES))
    assert ids[answer].tolist() == flat("B.\nDé.\n") and len(flat("é")) == 2
    found = dialogue_with_vectors(pieces, library, VOCABULARY, "<image>", [3])
    vectors = [VOCABULARY + k for k in range(3)]
    assert found.ids.tolist() == [*flat("[u]"), *vectors, *flat("a?.\n[a]B.\n[u]c.\n[a]Dé.\n[u]e.\n")]
    none = lambda text: [-1] * len(flat(text))
    answers = [*flat("B.\n"), *none("[u]c.\n[a]"), *flat("Dé.\n"), *none("[u]e.\n")]
    assert found.answer.tolist() == [*none("[u]"), -1, -1, -1, *none("a?.\n[a]"), *answers] and found.vectors == 3
    two = [Piece("<image>x<image>", False), Piece("y", True)]
    found = dialogue_with_vectors(two, library, VOCABULARY, "<image>", [2, 1])
    assert found.ids.tolist() == [*vectors[:2], *flat("x"), *vectors[2:], *flat("y")]
    assert found.answer.tolist() == [-1] * 4 + flat("y")
    with pytest.raises(ValueError, match="the dialogue has 2 times '<image>', but there are 1 inputs for it"):
        dialogue_with_vectors(two, library, VOCABULARY, "<image>", [2])


def test_the_processor_of_published_weights(tmp_path):
    """LLaVA with a tokenizer of bytes: four vectors in the place of the marker."""
    prompts = load(vision_language_folder(tmp_path)).preprocessing
    image = np.zeros((8, 8, 3), np.uint8)
    tiles, found = published_dialogue(prompts, [Piece(*piece) for piece in PIECES], [image])
    assert len(tiles) == 1 and found.vectors == 4
    asked = prompts.read({"text": "".join(text for text, _ in PIECES), "images": [image]})[1]
    assert found.ids.tolist() == asked.tolist()
    vectors = found.ids[found.ids >= prompts.vocabulary]
    assert vectors.tolist() == [prompts.vocabulary + k for k in range(4)]
    assert prompts.texts.library.decode(found.answer[found.answer >= 0].tolist()) == "B.\nDé.\n"
    with pytest.raises(ValueError, match="the processor of the weights changes the text of a prompt"):
        published_dialogue(replace(prompts, compose=str.upper), [Piece("a", True)], [])
