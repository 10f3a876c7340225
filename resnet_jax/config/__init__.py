"""The settings of a run: the schema with its defaults, the data sets, the checks, the command
line.

Knows nothing of JAX, TensorFlow or files of data, so that `--help` and a wrong field answer at
once.
"""
