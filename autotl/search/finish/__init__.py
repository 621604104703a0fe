"""What ships: repeats for finalists, the shipping rule, refit, holdout."""
