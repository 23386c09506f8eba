"""The OpenAI-compatible gateway: wire formats in, one cache behind, bytes of the model through."""
