"""The network, its weights and its files: export, check, 8 bits, and the operator for PyTorch."""
