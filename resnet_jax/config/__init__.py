"""Configuration of a run: the schema with its defaults, data sets, checks, command-line flags.

Imports neither JAX nor TensorFlow and reads no data, so that `--help` and the message about a wrong
field appear at once.
"""
