"""Devices and processes: start-up, placement of arrays, the only `pmap`, the compilation cache,
and the counters of NVIDIA GPUs.

Knows nothing of networks or data sets.
"""
