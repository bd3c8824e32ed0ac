"""Speed and memory of everything, measured in one run."""
