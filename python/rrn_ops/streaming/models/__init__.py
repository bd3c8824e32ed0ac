"""Person detectors as ONNX files of one form, made on this machine from packages that carry the weights."""
