"""Wire formats: from bytes to a canonical request, and from a stored answer back to bytes."""
