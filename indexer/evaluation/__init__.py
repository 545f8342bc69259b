"""What every policy would have found after every lesson."""
