"""What a search leaves: intervals, the fitted model, files and the report."""
