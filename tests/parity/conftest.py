"""Parity with the original models: see constraints/parity.txt for what these tests need."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's idle threads would spin, and starve JAX's
