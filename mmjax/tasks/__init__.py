"""Tasks: each defines what a model is asked and how its answers are scored (the protocol `mmjax.types.Task`)."""

from mmjax.tasks.answer import Answer
from mmjax.tasks.choose import Choose
from mmjax.tasks.classify import Classify
from mmjax.tasks.defaults import TaskDefaults
from mmjax.tasks.generate import Generate
from mmjax.tasks.likelihood import Likelihood
from mmjax.tasks.multilabel import MultiLabelClassify
from mmjax.tasks.regress import Regress
from mmjax.tasks.retrieve import Retrieve
from mmjax.tasks.zero_shot import ZeroShot

__all__ = [
    "Answer",
    "Choose",
    "Classify",
    "Generate",
    "Likelihood",
    "MultiLabelClassify",
    "Regress",
    "Retrieve",
    "TaskDefaults",
    "ZeroShot",
]
