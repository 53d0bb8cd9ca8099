"""Draw the autograd graph of any PyTorch script, module or model."""

__version__ = "0.1.0"
