"""`scripts/large_costs.py`: FLOPs counted by hand and by the compiled program, and what a device holds."""

import chex
import jax
import large_costs
import numpy as np
import pytest

from mmjax.decoders import LanguageModel, language_models
from mmjax.train.parallel import single
from mmjax.train.program import read_program
from mmjax.train.sharded import Mesh, grid_of, of_rows, sharded
from mmjax.types import Batch

ROWS, TOKENS = 4, 8
MODEL = LanguageModel(64, width=64, depth=3, heads=4, kv_heads=2, hidden=96, tied=False, positions=TOKENS)
BLOCK = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96  # query and out, key and value, perceptron
WEIGHTS = 3 * BLOCK + 64 * 64  # with the output layer
SCORES = 3 * 4 * 16 * TOKENS * 2  # multiplications of a token: scores and attended values, masked ones included
PARAMETERS = WEIGHTS + 64 * 64 + (2 * 3 + 1) * 64  # with the embedding and the norms


def test_the_count_of_a_model():
    tokens = ROWS * TOKENS
    assert large_costs.model_flops(MODEL, ROWS, TOKENS, True) == 2 * tokens * 3 * (WEIGHTS + SCORES / 2)
    assert large_costs.model_flops(MODEL, ROWS, TOKENS, False) == 2 * tokens * (2 * WEIGHTS + 3 * SCORES / 2)


@pytest.mark.parametrize(("name", "billions"), [("llama3_2_1b", 1.236), ("llama2_7b", 6.738), ("qwen3_32b", 32.762)])
def test_the_sizes_of_models(name, billions):
    """By the products of a token, of which the input embedding has none; a tied one has those of the output."""
    model = getattr(language_models, name)()
    weights = large_costs.model_flops(model, 1, 1, True) / 6 - model.depth * model.heads * (model.head_width or 128) / 2
    assert (weights + (0 if model.tied else model.vocabulary * model.width)) / 1e9 == pytest.approx(billions, abs=0.002)


@pytest.mark.parametrize("how", large_costs.TRAININGS)
def test_a_compiled_step(how):
    """Two times forward, since activations are computed again, for the gradient of activations and, of weights that learn, for
    theirs. What a block ends with is not needed again, nor is a single chunk of logits. Parameters and both moments of Adam are
    in four parts, if they are large."""
    step = large_costs.compiled(MODEL, how, Mesh(data=1, fsdp=4), ROWS, TOKENS)
    tokens, lora = ROWS * TOKENS / 4, 3 * 8 * (64 + 64 + 64 + 32)  # A and B of queries and values
    if how == "full":
        assert step.parameters == PARAMETERS
        assert step.program.flops == 2 * tokens * (4 * (WEIGHTS + SCORES) - 3 * 64 * 96 - 64 * 64)
        assert 3 * 4 * PARAMETERS / 4 < step.state < 1.5 * 3 * 4 * PARAMETERS / 4
    else:
        assert step.parameters == PARAMETERS + lora
        assert 2 * tokens * 3 * WEIGHTS < step.program.flops < 2 * tokens * 4.2 * (WEIGHTS + SCORES)
        assert 4 * (PARAMETERS / 4 + 3 * lora / 4) < step.state < 1.5 * 4 * (PARAMETERS / 4 + 3 * lora)
    assert step.memory > step.state
    assert step.program.collectives["all-gather"].sent > 0 and step.program.sent > step.program.collectives["all-gather"].sent


def test_meshes_of_the_command_line(capsys):
    assert large_costs.mesh_of("data=8,fsdp=32") == Mesh(data=8, fsdp=32)
    assert large_costs.mesh_of("tensor=2") == Mesh(data=1, tensor=2)
    for wrong in ("data", "rows=2", "fsdp=x", "fsdp=0", "seeds=2,data=8"):
        with pytest.raises(SystemExit):
            large_costs.main(["llama2_7b", "--mesh", wrong])
        assert f"{wrong!r} is no mesh such as data=8,fsdp=32" in capsys.readouterr().err
    for rows in (3, 0, -2):
        message = f"^error: --rows is {rows} and --tokens 2048; rows must be a positive multiple of data x fsdp, 2$"
        with pytest.raises(SystemExit, match=message):
            large_costs.main(["llama2_7b", "--mesh", "fsdp=2", "--rows", str(rows)])


@pytest.mark.slow  # `test_a_compiled_step` has its collectives
def test_low_rank_additions_on_a_mesh_learn_as_on_one_device(monkeypatch):
    """Two steps with every array in parts. Each kernel is gathered in the loop over the blocks, adapted ones too."""
    monkeypatch.setattr("mmjax.train.sharded.MIN_SIZE", 1)
    random = np.random.default_rng(0)
    inputs, target = {"text": np.zeros((ROWS, 1), np.float32)}, random.integers(0, 64, (ROWS, TOKENS)).astype(np.int32)
    batch = Batch(inputs, {"text": np.ones(ROWS, bool)}, {"text": target}, np.ones(ROWS, np.float32))
    found = []
    for plan in (single(), sharded(Mesh(data=2, fsdp=2))):
        training = large_costs.training_of(MODEL, "lora", plan)
        state, frozen = training.init((0,), batch)
        state, frozen = plan.place(state), plan.place(frozen, seeds=False)
        step = plan.train(training.step(0))
        for _ in range(2):
            placed = jax.tree.map(lambda leaf: leaf[None, None], batch)
            if found:
                placed = jax.device_put(placed, of_rows(grid_of(Mesh(data=2, fsdp=2)), 3))
                collectives = read_program(step.lower(state, frozen, placed).compile()).collectives
            state, metrics = step(state, frozen, placed)
        found.append((plan.fetch(state).params, metrics["loss"]))
    chex.assert_trees_all_close(*found, rtol=1e-4, atol=1e-6)
    assert collectives["all-gather"].calls >= 2 * 3 * 7  # seven kernels of three blocks, forward and backward
