"""Vision transformers of timm as Hugging Face's `ViTForImageClassification`, proven equal on the same input.

`key_map` pairs the tensors of both networks, `vit` reads timm's weights and fills the other network, `proof` compares
logits, `export` writes TorchScript and ONNX, `command` is ``rrn convert``.
"""
