"""Plans: what a run will take, found without its data, without a GPU and without training a
step.
"""
