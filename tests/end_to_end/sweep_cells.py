"""The experiment of test_sweep.py: three cells of two_processes.py, one of which cannot be trained."""

from dataclasses import replace

from two_processes import CELL

from mmjax.experiment import main
from mmjax.train.optim import SGD

ABLATIONS = {
    "both": CELL,
    "arm": replace(CELL, encoders={"arm": CELL.encoders["arm"]}),
}
BY_NAME = {"diverges": replace(CELL, optim=SGD(lr=1e30))}

if __name__ == "__main__":
    main(ABLATIONS, by_name=BY_NAME)
