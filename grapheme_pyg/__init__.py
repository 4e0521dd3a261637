"""Image classification with one directed acyclic graph per image, on PyTorch Geometric."""
