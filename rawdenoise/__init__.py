"""Denoise raw captures with models trained on the camera's own noisy captures."""

import os

__version__ = "0.1.0"

# OpenMP's threads spin while they wait for each other, which stalls networks on a machine with other work:
# a training step on 2 busy cores took 0.9 to 2.1 s spinning and 0.15 to 0.24 s asleep. It is read once, when
# torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
