"""What similarities say: measures against labels, thresholds, explanations, figures, a report."""
