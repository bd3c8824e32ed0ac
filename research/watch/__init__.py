"""Watching people: how well they are found, what low precision costs, and how late a frame arrives."""
