"""The network in NVIDIA TensorRT: by inlining the operator's function, and by a plugin over the project's kernel."""
