"""Series encoders for the contract suite."""

from mmjax.encoders.series import TCN, PatchTransformer
from tests.contracts.inputs import frames

ENCODERS = {
    "tcn": (TCN(widths=(4, 6), dropout=0.3), frames),
    "patch_transformer": (PatchTransformer(patch=2, width=8, depth=1, heads=2, hidden=8, dropout=0.3), frames),
}
