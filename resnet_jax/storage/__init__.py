"""Files of a run: their paths, crash-safe writing, and reading.

Knows nothing of networks, data sets or arrays on devices.
"""
