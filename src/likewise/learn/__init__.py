"""Learning which candidates are right: pair features, verifier, certification, tuning."""
