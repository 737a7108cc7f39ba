"""Counts of compiled programs, against products and collectives counted by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from mmjax.train.program import Collective, read_program


class Text:
    """A program by its text."""

    def __init__(self, text: str):
        self.as_text = lambda: text


def test_products_and_collectives_in_a_loop():
    """Five turns of a product [2 8] x [8 8] on each of four devices, whose result is summed over all of them."""
    mesh = jax.make_mesh((4,), ("parts",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])

    def run(x, kernel):
        def turn(x, _):
            return jnp.tanh(jax.lax.psum(x @ kernel, "parts")), None

        return jax.lax.scan(turn, x, length=5)[0]

    spread = jax.shard_map(run, mesh=mesh, in_specs=(P("parts"), P()), out_specs=P("parts"), check_vma=False)
    program = read_program(jax.jit(spread).lower(jnp.ones((8, 8)), jnp.ones((8, 8))).compile())
    assert program.flops == 5 * 2 * 2 * 8 * 8
    assert program.collectives == {"all-reduce": Collective(5, 5 * 2 * 3 / 4 * 2 * 8 * 4)}
    assert program.sent == program.collectives["all-reduce"].sent


def test_a_convolution():
    """Four outputs of a window of three numbers, from two channels to five."""
    run = lambda x, kernel: jax.lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))
    program = read_program(jax.jit(run).lower(jnp.ones((1, 6, 2)), jnp.ones((3, 2, 5))).compile())
    assert program.flops == 2 * 4 * 3 * 2 * 5


HEADER = "HloModule f, is_scheduled=true, num_partitions=8\n\n"
ASYNC = HEADER + """%around (p: f32[4,2]) -> f32[1,2] {
  %p = f32[4,2]{1,0} parameter(0)
  ROOT %rs = f32[1,2]{1,0} reduce-scatter(%p), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}, to_apply=%add
}

ENTRY %main (a: bf16[2,8]) -> f32[4,8] {
  %a = bf16[2,8]{1,0:T(8,128)(2,1)} parameter(0)
  %start = (bf16[2,8]{1,0}, bf16[4,8]{1,0}) all-gather-start(%a), replica_groups={{0,1},{2,3},{4,5},{6,7}}, dimensions={0}
  %done = bf16[4,8]{1,0} all-gather-done(%start)
  %b = f32[4,2]{1,0} parameter(1)
  %rs-start = ((f32[4,2]), f32[1,2], s32[]) async-start(%b), calls=%around
  %rs-done = f32[1,2]{1,0} async-done(%rs-start), calls=%around
  ROOT %r = f32[4,8]{1,0} all-reduce(%done), replica_groups={}, to_apply=%add
}
"""


def test_programs_of_accelerators():
    """Asynchronous collectives count once; {} are all eight devices; bfloat16 numbers have two bytes."""
    found = read_program(Text(ASYNC)).collectives
    gathered, scattered, summed = 4 * 8 * 2 / 2, 4 * 2 * 4 * 3 / 4, 2 * 4 * 8 * 4 * 7 / 8
    assert found == {
        "all-gather": Collective(1, gathered),
        "all-reduce": Collective(1, summed),
        "reduce-scatter": Collective(1, scattered),
    }


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("{{0,1},{2,3},{4,5},{6,7}}", 2),
        ("[2,4]<=[8]", 4),
        ("{}", 8),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", 4),
        ("mesh['a'=2,'b'=4] {'a','b':(1)2}", 4),  # and the first two of the four devices along b
    ],
)
def test_the_size_of_a_group(groups, size):
    text = HEADER + """ENTRY %main (a: f32[2,3]) -> f32[2,3] {
  %a = f32[2,3]{1,0} parameter(0)
  ROOT %r = f32[2,3]{1,0} all-reduce(%a), replica_groups=""" + groups + ", to_apply=%add\n}\n"
    assert read_program(Text(text)).sent == 2 * 24 * (size - 1) / size


@pytest.mark.parametrize(("count", "times"), [(', backend_config={"known_trip_count":{"n":"7"}}', 7), ("", 1)])
def test_the_turns_of_a_loop(count, times):
    text = HEADER + """%body (p: f32[2,3]) -> f32[2,3] {
  %p = f32[2,3]{1,0} parameter(0)
  %k = f32[3,3]{1,0} constant({...})
  ROOT %d = f32[2,3]{1,0} dot(%p, %k), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (a: f32[2,3]) -> f32[2,3] {
  %a = f32[2,3]{1,0} parameter(0)
  ROOT %w = f32[2,3]{1,0} while(%a), condition=%cond, body=%body""" + count + "\n}\n"
    assert read_program(Text(text)).flops == times * 2 * 2 * 3 * 3
