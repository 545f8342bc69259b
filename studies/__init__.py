"""Whole runs over streams of tasks."""
