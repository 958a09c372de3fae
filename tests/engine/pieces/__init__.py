"""Data that is cut and joined again."""
