"""The guarded study: what is tried, in which order, and when a trial stops."""
