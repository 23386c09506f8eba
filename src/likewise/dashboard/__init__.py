"""What the dashboard shows: figures over time, labels, entries, and decisions made again."""
