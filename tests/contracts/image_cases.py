"""Image encoders for the contract suite."""

from mmjax.encoders.efficientnet import EfficientNetLite
from mmjax.encoders.image import CNN
from mmjax.encoders.naflex import NaFlex
from mmjax.encoders.qwen_vit import QwenViT
from mmjax.encoders.resnet import ResNet
from mmjax.encoders.vgg import VGG
from mmjax.encoders.vit import PatchStates, ViT
from tests.contracts.inputs import cells, image, patches

ENCODERS = {
    "cnn": (CNN(widths=(4, 6), dropout=0.3), image),
    "vgg": (VGG(stages=((1, 4), (1, 6)), hidden=(8,), batch_norm=True, dropout=0.3), image),
    "resnet": (ResNet(stages=((1, 4), (1, 6)), stem=3), image),
    "vit_clip": (ViT(patch=8, width=8, depth=1, heads=2, hidden=8, first_norm=True, class_token=False, dropout=0.3), image),
    "efficientnet": (EfficientNetLite(stages=((1, 3, 1, 1, 4), (2, 5, 2, 2, 4)), stem=4, head=8), image),
    "vit_interpolated": (ViT(patch=8, width=8, depth=1, heads=2, hidden=8, layer_scale=0.5, grid=(3, 3), registers=2), image),
    "naflex": (NaFlex(side=2, width=8, depth=1, heads=2, hidden=8, dropout=0.3), patches),
    "patch_states": (PatchStates(ViT(patch=8, width=8, depth=1, heads=2, hidden=8, dropout=0.3)), image),
    "qwen_vit": (QwenViT(patch=2, width=8, depth=1, heads=1, hidden=8), cells),
    "vit": (ViT(patch=8, width=8, depth=1, heads=2, hidden=8, dropout=0.3), image),
}
