"""Channels of layers in a row, views of turned tensors, points by a camera: what fails, why, and what is right."""
