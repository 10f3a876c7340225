"""Console of a command: log and progress lines, standard streams, stop signals, exit statuses.

Knows nothing of configs, runs and JAX.
"""
