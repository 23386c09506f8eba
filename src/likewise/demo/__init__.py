"""The demo: everyday prompts, a runner that judges every hit, and its report."""
