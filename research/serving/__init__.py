"""The engine in a Triton Inference Server: what it shows, and how fast it is."""
