"""The files of a run: where each one lies, how it is written so that a crash cannot tear it,
and how it is read back.

Knows nothing of arrays on devices, networks or data sets.
"""
