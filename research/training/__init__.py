"""Training ResNet-18 for the reduction operator."""
