"""Training: the step, the optimizer, the state, the loop, and how a run is set up and continued.

This package does not know reports and inference.
"""
