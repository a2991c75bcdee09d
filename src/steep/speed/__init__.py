"""What makes training fast; each part has a plain PyTorch twin with the same meaning."""
