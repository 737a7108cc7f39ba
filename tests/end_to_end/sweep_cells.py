"""The experiment of test_sweep.py: three cells of two_processes.py with three folds, one of which cannot be trained."""

import os
from dataclasses import replace

from two_processes import CELL

from mmjax.data.custom import KFold
from mmjax.experiment import main
from mmjax.machine import GPUS
from mmjax.train.optim import SGD

BOTH = replace(CELL, data=replace(CELL.data, split=KFold(3)))
ABLATIONS = {
    "both": BOTH,
    "arm": replace(BOTH, encoders={"arm": BOTH.encoders["arm"]}),
}
BY_NAME = {"diverges": replace(BOTH, optim=SGD(lr=1e30))}

if __name__ == "__main__":
    print("cores", *sorted(os.sched_getaffinity(0)), "gpus", os.environ.get(GPUS))
    main(ABLATIONS, by_name=BY_NAME)
