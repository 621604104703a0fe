"""What transfer must beat: models of raw features, and how they are measured."""
