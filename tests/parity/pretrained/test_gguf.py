"""GGUF: blocks equal gguf's, models equal transformers' load of the same file, and SmolLM2 from its wheel.

SmolLM2-135M-Instruct on the passage below (its first token apart): the perplexity of both codes is compared, and so are
token ids, logits and the greedy answer to a question.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.pretrained import load, save
from mmjax.pretrained.ggml import GGML_TYPES, dequantize
from mmjax.types import Padded
from tests.parity.originals import assert_same

pytestmark = pytest.mark.parity

PASSAGE = (
    "The water cycle describes how water moves on, above and below the surface of the Earth. In 2024, about 71% of the planet "
    "was covered by oceans.\n\n  Rain, snow and hail fall; rivers run to the sea."
)
PERPLEXITY = 12.1746
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("number", GGML_TYPES, ids=lambda number: GGML_TYPES[number].name)
def test_blocks(number):
    """Random bytes: every scale and every quant."""
    import gguf

    kind = GGML_TYPES[number]
    blocks = np.random.default_rng(number).integers(0, 256, (60, kind.size), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.dequantize(blocks.reshape(3, -1), gguf.GGMLQuantizationType(number))
    assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(number)] == (kind.count, kind.size)
    np.testing.assert_array_equal(dequantize(kind, blocks.reshape(-1), expected.shape), expected)


SIZES = {  # architecture: layers, width, heads, key-value heads, head width, hidden; type of the dense layers
    "llama": (2, 64, 4, 2, 16, 96, "Q8_0"),
    "qwen2": (1, 64, 2, 1, 32, 32, "Q4_0"),
    # transformers does not read the head width of these.
    "qwen3": (2, 32, 2, 2, 128, 64, "F16"),
    "gemma2": (3, 32, 2, 1, 256, 64, "Q5_1"),
    "gemma3": (7, 32, 1, 1, 256, 32, "BF16"),
}


def written(architecture, file):
    """A model with random weights in blocks, by the library gguf."""
    import gguf

    layers, width, heads, kv_heads, head, hidden, kind = SIZES[architecture]
    random, writer = np.random.default_rng(5), gguf.GGUFWriter(file, architecture)
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_feed_forward_length(hidden)
    writer.add_context_length(64)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500.0)
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(60)
    if architecture.startswith("gemma"):
        writer.add_sliding_window(4)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {"attn_q": (heads * head, width), "attn_k": (kv_heads * head, width), "attn_v": (kv_heads * head, width)}
    names |= {"attn_output": (width, heads * head), "ffn_gate": (hidden, width), "ffn_up": (hidden, width)}
    names |= {"ffn_down": (width, hidden), "attn_norm": (width,), "ffn_norm": (width,)}
    if architecture in ("qwen3", "gemma3"):
        names |= {"attn_q_norm": (head,), "attn_k_norm": (head,)}
    if architecture.startswith("gemma"):
        names |= {"post_attention_norm": (width,), "post_ffw_norm": (width,)}
    tensors = {f"blk.{layer}.{name}.weight": shape for layer in range(layers) for name, shape in names.items()}
    if architecture == "qwen2":
        biases = {name: names[name][:1] for name in ("attn_q", "attn_k", "attn_v")}
        tensors |= {f"blk.{layer}.{name}.bias": shape for layer in range(layers) for name, shape in biases.items()}
    tensors |= {"token_embd.weight": (60, width), "output_norm.weight": (width,)}
    for name, shape in tensors.items():
        x = random.normal(1 if name.endswith("norm.weight") else 0, 0.2, shape).astype(np.float32)
        quantised = gguf.GGMLQuantizationType[kind if len(shape) == 2 else "F32"]
        writer.add_tensor(name, gguf.quantize(x, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize("architecture", SIZES)
def test_models(architecture, tmp_path):
    import torch
    import transformers

    file = written(architecture, tmp_path / "model.gguf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, attn_implementation="eager")
    weights = load(file)
    ids = np.random.default_rng(0).integers(3, 60, (2, 9)).astype(np.int32)
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor(ids).long()).logits
    logits = jax.jit(weights.module.apply)(weights.variables, Padded(jnp.asarray(ids), jnp.full(2, 9)))
    assert_same(logits, expected, "logits")
    save(weights, tmp_path / "saved")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved", attn_implementation="eager")
    with torch.no_grad():
        assert_same(back(input_ids=torch.tensor(ids).long()).logits, expected, "logits of the saved model")


@pytest.fixture(scope="module")
def smollm2():
    """(our weights, transformers' model and tokenizer of the same file)."""
    import transformers

    weights = load("smollm2-135m-instruct")
    file = weights.preprocessing.file
    read = {"gguf_file": file.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, **read, dtype="float32")
    return weights, model.eval(), transformers.AutoTokenizer.from_pretrained(file.parent, **read)


def nats(logits, ids):
    """The mean negative log-likelihood of the tokens after the first one."""
    likely = jax.nn.log_softmax(jnp.asarray(logits)[:-1].astype(jnp.float32))
    return float(-jnp.take_along_axis(likely, jnp.asarray(ids)[1:, None], axis=1).mean())


def test_smollm2(smollm2):
    import torch

    weights, theirs, tokenizer = smollm2
    texts = weights.preprocessing
    for text in (PASSAGE, QUESTION, "naïve café 12345 😀\t x  y", " leading", ""):
        ids = texts.library.encode(text).ids
        assert ids == tokenizer(text)["input_ids"], text
        assert texts.library.decode(ids) == text.replace("<|im_start|>", "").replace("<|im_end|>", "")
    batch = texts.batch([PASSAGE, QUESTION])
    logits = jax.jit(weights.module.apply)(weights.variables, batch)
    perplexities = []
    for row, length in enumerate(batch.length.tolist()):
        ids = batch.x[row, :length]
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor(ids[None]).long()).logits[0].numpy()
        assert_same(logits[row, :length], expected, "logits")
        perplexities.append((np.exp(nats(logits[row, :length], ids)), np.exp(nats(expected, ids))))
    np.testing.assert_allclose(*np.transpose(perplexities), rtol=1e-4)
    np.testing.assert_allclose(perplexities[0][0], PERPLEXITY, rtol=1e-3)


def test_smollm2_answers_in_the_terminal(smollm2, capsys):
    """As transformers' `generate` does, with the template that it reads from the same file."""
    import torch

    from mmjax.chat import __main__ as chat

    _, theirs, tokenizer = smollm2
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        written = theirs.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    chat.main(["smollm2-135m-instruct", "--prompt", asked[0]["content"], "--max-tokens", "24"])
    answer = capsys.readouterr().out
    assert answer == tokenizer.decode(written, skip_special_tokens=True) + "\n"
    assert "Paris" in answer


def test_gemma3_270m():
    """The model card's number of parameters; ids and logits equal transformers', which reads the same file."""
    import torch
    import transformers

    weights = load("gemma3-270m")
    assert sum(leaf.size for leaf in jax.tree.leaves(weights.variables)) == 268_098_176
    file = weights.preprocessing.file
    read = {"gguf_file": file.name}
    ids = weights.preprocessing.library.encode(PASSAGE).ids
    assert ids == transformers.AutoTokenizer.from_pretrained(file.parent, **read)(PASSAGE)["input_ids"]
    ids = np.array([ids], np.int32)
    logits = jax.jit(weights.module.apply)(weights.variables, Padded(jnp.asarray(ids), jnp.full(1, ids.shape[1])))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(file.parent, **read, dtype="float32").eval()
    with torch.no_grad():
        assert_same(logits, theirs(input_ids=torch.tensor(ids).long()).logits, "logits")
