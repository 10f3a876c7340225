"""The devices: how they and the processes start, how arrays are placed on them, the only
`pmap`, the compilation cache, and NVIDIA's counters.

Knows nothing of networks or data sets.
"""
