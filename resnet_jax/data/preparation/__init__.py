"""The work of the command `prepare`: storing a data set again, smaller, as a TFDS data set.

Knows nothing of training.
"""
