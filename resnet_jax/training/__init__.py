"""Training: the step, the optimizer, the state, setting a run up, continuing it, and the loop.

Knows nothing of reports and inference.
"""
