"""AV-MNIST in the folder format of MultiBench: written and spoken digits."""

__all__ = ["dataset"]
