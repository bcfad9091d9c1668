"""How good a result is: its gain without ground truth, its residual, and metrics where the truth is known."""
