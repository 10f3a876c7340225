"""Console of a command: log and progress lines, plots in plain text, stop signals.

Knows nothing of JAX.
"""
