"""What faster forms of vision networks gain and cost: PyTorch, ONNX Runtime, OpenVINO, and behind Triton."""
