"""Plans: what a run takes (steps, FLOPs, memory, time), computed without data, GPU or training."""
