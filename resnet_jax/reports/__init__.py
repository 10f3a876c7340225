"""Reports: what a run has left, read once, and turned into tables, figures and one page.

Evaluates nothing again. Knows nothing of training and devices.
"""
