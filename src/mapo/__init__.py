"""Mixed Advantage Policy Optimization for vision-language models, as PyTorch Lightning modules."""

__version__ = "0.1.0"
